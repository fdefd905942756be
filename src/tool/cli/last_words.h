// Ends that would have no words, or a library's.
#pragma once

namespace w2vbert::tool {

// From now on an exception that nothing catches, in any thread, and a library that calls exit() end
// the program with one error line. Threads that a pool of LibTorch cannot start do so from the
// begin.
void say_last_words();

// The program ends by itself, with that status.
int end_with(int status);

}  // namespace w2vbert::tool
