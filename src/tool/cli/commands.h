// The subcommands. Each add_* function declares one and returns what runs it once the words are
// read.
//
// The room `cli` is the words: one file for each command, the options that several share
// (options.h) and their types (typed_options.h), what is printed (console.h, format.h) and how the
// program ends (exit_status.h, signals.h). It alone prints. Read main.cpp and this header first.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace w2vbert::tool {

// Returns an ExitStatus or 128 + a signal's number; throws what exit_status.h knows.
using Run = std::function<int()>;

Run add_features(CLI::App& program);
Run add_extract(CLI::App& program);
Run add_transcribe(CLI::App& program);
Run add_align(CLI::App& program);
Run add_classify(CLI::App& program);
Run add_segment(CLI::App& program);
Run add_embed(CLI::App& program);
Run add_view(CLI::App& program);
Run add_worker(CLI::App& program);
Run add_forward(CLI::App& program);
Run add_inspect(CLI::App& program);
Run add_parity(CLI::App& program);
Run add_bench(CLI::App& program);
Run add_status(CLI::App& program);
Run add_verify(CLI::App& program);
Run add_doctor(CLI::App& program);

}  // namespace w2vbert::tool
