// The program: finds the subcommand, and turns whatever ends it into an exit status and one line.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <exception>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tool/cli/command_line.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/help_text.h"
#include "tool/cli/last_words.h"
#include "tool/cli/signals.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

// Stands before a word that CLI11 2.1 must not read: to it "[a,b]" is a list of values, and behind
// "--" it hands the words of a command that has some already to the program. No argument of a
// process can hold this byte.
constexpr char kAsItStands = '\0';

std::vector<std::string> marked(const std::vector<std::string>& words) {
  std::vector<std::string> result;
  bool only_paths = false;
  for (std::string word : words) {
    if (word == "--" && !only_paths) {
      only_paths = true;
      continue;
    }
    const std::size_t start = !only_paths && word.starts_with("--") ? word.find('=') + 1 : 0;
    const bool is_list = word.size() >= start + 2 && word[start] == '[' && word.back() == ']';
    const bool is_option = only_paths && word.starts_with('-');
    if (is_list || is_option) word.insert(start, 1, kAsItStands);
    result.push_back(std::move(word));
  }
  return result;
}

void take_marks_off(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // a flag
    option->transform([](std::string value) {
      if (value.starts_with(kAsItStands)) value.erase(0, 1);
      return value;
    });
  }
  for (CLI::App* command : app.get_subcommands({})) take_marks_off(*command);
}

void print_help(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  const std::string help =
      chosen.empty() ? program.help() : chosen.front()->help(program.get_name());
  print_result(fitted(help, result_width()));
}

bool is_help_asked(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  return program.get_help_ptr()->count() > 0 ||
         (!chosen.empty() && chosen.front()->get_help_ptr()->count() > 0);
}

// `w2vbert help COMMAND` as `w2vbert COMMAND --help`.
std::vector<std::string> with_help_as_option(std::vector<std::string> words) {
  if (words.empty() || words.front() != "help") return words;
  words.erase(words.begin());
  if (std::find(words.begin(), words.end(), "--help") == words.end()) words.emplace_back("--help");
  return words;
}

int run_program(const std::vector<std::string>& words) {
  CLI::App program("HuggingFace's Wav2Vec2-BERT (w2v-BERT 2.0): speech in, hidden states out.",
                   "w2vbert");
  program.set_help_flag("-h,--help", "Print this help");
  program.set_version_flag("--version", std::string("w2vbert ") + version(), "Print the version");
  program.require_subcommand(1);
  program.footer(
      "Example:\n  w2vbert extract speech.wav --model facebook/w2v-bert-2.0 --output states\n"
      "`w2vbert COMMAND --help` explains a command.");
  std::map<std::string, Run> commands;
  commands["features"] = add_features(program);
  commands["extract"] = add_extract(program);
  commands["transcribe"] = add_transcribe(program);
  commands["align"] = add_align(program);
  commands["classify"] = add_classify(program);
  commands["segment"] = add_segment(program);
  commands["embed"] = add_embed(program);
  commands["view"] = add_view(program);
  commands["worker"] = add_worker(program);
  commands["forward"] = add_forward(program);
  commands["inspect"] = add_inspect(program);
  commands["parity"] = add_parity(program);
  commands["bench"] = add_bench(program);
  commands["status"] = add_status(program);
  commands["verify"] = add_verify(program);
  commands["doctor"] = add_doctor(program);

  check_words(program, words);
  take_marks_off(program);
  std::vector<std::string> reversed = marked(words);
  std::reverse(reversed.begin(), reversed.end());  // CLI11 takes them from the back
  try {
    program.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    print_help(program);
    return kDone;
  } catch (const UsageError&) {
    // CLI11 reads the values first, and --help counts all the same.
    if (!is_help_asked(program)) throw;
    print_help(program);
    return kDone;
  } catch (const CLI::CallForVersion& version) {
    print_result(std::string(version.what()) + "\n");
    return kDone;
  } catch (const CLI::RequiredError&) {
    throw UsageError("", "", "no command", "w2vbert COMMAND ...; see `w2vbert --help`");
  } catch (const CLI::ParseError& error) {
    throw UsageError("", "", error.what(), "see `w2vbert --help`");
  }
  return commands.at(program.get_subcommands().front()->get_name())();
}

}  // namespace
}  // namespace w2vbert::tool

int main(int argc, char** argv) {
  using namespace w2vbert::tool;
  open_standard_descriptors();
  ignore_write_signals();
  say_last_words();
  try {
    return end_with(run_program(with_help_as_option({argv + std::min(argc, 1), argv + argc})));
  } catch (...) {
    const ExitResult result = exit_result_of(std::current_exception());
    if (!result.message.empty()) print_error(result.message);
    return end_with(result.status);
  }
}
