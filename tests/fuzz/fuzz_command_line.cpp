// The words of a command line, one a line, and the values of options.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/text.h"
#include "message.h"
#include "tool/cli/command_line.h"
#include "tool/cli/typed_options.h"
#include "w2vbert/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace w2vbert::tool;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> words = w2vbert::split(text, '\n');

  CLI::App app("what the fuzzer runs", "w2vbert");
  app.require_subcommand(1);
  CLI::App& command = *app.add_subcommand("extract", "");
  std::vector<std::string> audio;
  std::string output = "out";
  int threads = 2;
  double seconds = 1;
  int device = 0;
  bool quiet = false;
  command.add_option("AUDIO", audio, "");
  add_value(command, "--output", output, "DIR", "");
  add_value(command, "--threads", threads, WholeNumber<int>{1, 1024}, "");
  add_value(command, "--max-seconds", seconds, PositiveNumber{kMaxSeconds}, "");
  add_value(command, "--device", device, OneOf<int>({{"cpu", 1}, {"cuda", 2}}), "");
  command.add_flag("--quiet", quiet, "");
  try {
    check_words(app, words);
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 takes them
    app.parse(std::move(reversed));
    if (threads < 1 || threads > 1024 || device < 0 || device > 2) std::abort();
    if (!(seconds > 0 && seconds <= kMaxSeconds)) std::abort();
  } catch (const w2vbert::UsageError& error) {
    w2vbert::check_message(error.what());
  } catch (const CLI::Error&) {
  }
  return 0;
}
