// Signals that ask the program to end.
#pragma once

namespace w2vbert::cli {

// SIGPIPE and SIGXFSZ are ignored: the write that fails says so itself.
void ignore_write_signals();

// From now on the first SIGTERM, SIGINT or SIGUSR1 (Slurm's warning) is remembered, for the run to end
// between two clips; a second one, or ten seconds, ends the program at once with 128 + its number.
void catch_stop_signals();

// The signal that came, or 0.
int stop_signal() noexcept;

}  // namespace w2vbert::cli
