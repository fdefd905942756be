// Signals that ask the program to end.
#pragma once

namespace w2vbert::tool {

// SIGPIPE and SIGXFSZ are ignored: the write that fails says so itself.
void ignore_write_signals();

// From now on the first SIGTERM, SIGINT or SIGUSR1 (Slurm's warning) is remembered, for the run to
// end soon; a second one, or ten seconds, ends the program at once with 128 + its number.
void catch_stop_signals();

// The signal that came, or 0.
int stop_signal() noexcept;
inline bool is_stopping() noexcept { return stop_signal() != 0; }

// Ends the program although some of its threads will not end.
[[noreturn]] void end_without_waiting(int status) noexcept;

}  // namespace w2vbert::tool
