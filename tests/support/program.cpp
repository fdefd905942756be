#include "support/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "support/temporary_directory.h"
#include "support/text_file.h"

namespace w2vbert::testing {
namespace {

constexpr int kSignalled = 1000;

void redirect(const std::string& path, int flags, int descriptor) {
  const int file = ::open(path.c_str(), flags, 0600);
  if (file < 0 || ::dup2(file, descriptor) < 0) ::_exit(125);
  if (file != descriptor) ::close(file);
}

[[noreturn]] void become_program(const std::vector<std::string>& words,
                                 const Conditions& conditions, const TemporaryDirectory& scratch) {
  redirect(scratch / "in", O_RDONLY, STDIN_FILENO);
  if (conditions.stdout_reader_gone) {
    int ends[2];
    if (::pipe(ends) != 0 || ::dup2(ends[1], STDOUT_FILENO) < 0) ::_exit(125);
    ::close(ends[0]);
    ::close(ends[1]);
  } else {
    redirect(conditions.stdout_path.value_or(scratch / "out"), O_WRONLY | O_CREAT | O_TRUNC,
             STDOUT_FILENO);
  }
  redirect(scratch / "err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  for (const int descriptor : conditions.closed) ::close(descriptor);
  if (conditions.file_size_limit) {
    const rlimit limit{*conditions.file_size_limit, *conditions.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!conditions.working_directory.empty() && ::chdir(conditions.working_directory.c_str()) != 0) {
    ::_exit(125);
  }
  auto environment = conditions.environment;
  environment.emplace("PATH", "/usr/bin:/bin");
  environment.emplace("HOME", scratch.path());
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<std::string> arguments = {W2VBERT_PROGRAM};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const auto pointers = [](std::vector<std::string>& strings) {
    std::vector<char*> list;
    for (std::string& string : strings) list.push_back(string.data());
    list.push_back(nullptr);
    return list;
  };
  ::execve(W2VBERT_PROGRAM, pointers(arguments).data(), pointers(variables).data());
  ::_exit(125);
}

void send_signals(pid_t process, const Conditions& conditions) {
  struct stat status {};
  for (int tries = 0; tries < 6000; ++tries) {
    if (::stat(conditions.signal_after.c_str(), &status) == 0) break;
    ::usleep(10'000);
  }
  ::kill(process, conditions.signal);
  if (conditions.second_signal != 0) {
    ::usleep(100'000);
    ::kill(process, conditions.second_signal);
  }
}

}  // namespace

std::vector<std::string> Result::errors() const {
  std::vector<std::string> lines;
  std::istringstream text(err);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("error: ")) lines.push_back(line);
  }
  return lines;
}

Result run_program(const std::vector<std::string>& words, const Conditions& conditions) {
  const TemporaryDirectory scratch;
  std::ofstream(scratch / "in", std::ios::binary) << conditions.input;
  const pid_t process = ::fork();
  if (process == 0) become_program(words, conditions, scratch);
  if (conditions.signal != 0) send_signals(process, conditions);
  int status = 0;
  ::waitpid(process, &status, 0);
  Result result;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
  result.out = read_text(scratch / "out");
  result.err = read_text(scratch / "err");
  return result;
}

}  // namespace w2vbert::testing
