#include "tool/cli/command_line.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

std::size_t levenshtein_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent ? full_name(*parent) + " " + app.get_name() : app.get_name();
}

// The candidate that was perhaps meant, or `expected`.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates,
                       const std::string& expected, const CLI::App& app) {
  const std::string near = nearest(word, candidates);
  const std::string help = "see `" + full_name(app) + " --help`";
  return near.empty() ? expected + "; " + help : near + "? (" + help + ")";
}

// How many words the positional arguments take.
std::int64_t words_of(const CLI::App& app) {
  std::int64_t count = 0;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) count += option->get_items_expected_max();
  }
  return count;
}

bool looks_like_option(std::string_view word) { return word.size() > 1 && word[0] == '-'; }

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = levenshtein_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

void check_words(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* level = &app;
  std::set<const CLI::Option*> seen;
  std::int64_t words_left = 0;  // that the level's positional arguments take
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") return;
    if (looks_like_option(word)) {
      const std::size_t equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const CLI::Option* option = level->get_option_no_throw(name);
      if (!option || option->get_positional()) {
        throw UsageError(
            "", name, "unknown option",
            suggestion(name, option_names(*level), "an option of this command", *level));
      }
      if (!seen.insert(option).second) throw UsageError("", name, "given twice", "once");
      if (option->get_items_expected_max() == 0) {
        if (equals != std::string::npos) {
          throw UsageError("", name, "is given a value", "the option alone");
        }
        continue;
      }
      if (equals != std::string::npos) {
        if (equals + 1 == word.size()) {
          throw UsageError("", name, "has no value", option->get_type_name());
        }
        continue;
      }
      if (i + 1 == words.size() || words[i + 1].empty() || words[i + 1].starts_with("--") ||
          level->get_option_no_throw(words[i + 1])) {
        throw UsageError("", name, "has no value", option->get_type_name());
      }
      ++i;
    } else if (level == &app) {
      const CLI::App* command = find_command(app, word);
      if (!command) {
        throw UsageError("", in_quotes(word), "unknown command",
                         suggestion(word, command_names(app), "a command", app));
      }
      level = command;
      words_left = words_of(*level);
    } else if (words_left-- == 0) {
      throw UsageError("", in_quotes(word), "unexpected word",
                       suggestion(word, option_names(*level), "nothing more", *level));
    }
  }
}

}  // namespace w2vbert::tool
