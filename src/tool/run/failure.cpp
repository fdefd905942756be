#include "tool/run/failure.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/parse_number.h"
#include "core/text.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/worker_request.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxMessageBytes = 1200;

// What is at `path`; 0 where that cannot be told.
mode_t mode_at(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode : 0;
}

bool is_regular(const std::string& path) { return S_ISREG(mode_at(path)); }

// The file on the disk: of a member (InputPlace::path) its container where that is there.
std::string path_on_disk(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string before = path.substr(0, slash);
    if (has_archive_name(before) && is_regular(before)) return before;
  }
  const std::size_t colon = path.rfind(':');
  const bool has_offset =
      colon != std::string::npos && parse_number<std::uint64_t>(path.substr(colon + 1));
  return has_offset && is_regular(path.substr(0, colon)) ? path.substr(0, colon) : path;
}

// Why a file could not be read, as far as the file system tells.
std::string kind_of_file(const std::string& given) {
  const std::string path = path_on_disk(given);
  const mode_t mode = mode_at(path);
  if (mode == 0) return "not_found";
  if (!S_ISREG(mode)) return "not_a_file";
  if (::access(path.c_str(), R_OK) != 0) return "unreadable";
  return "audio";
}

// The option of a setting: its name, but for those that the command line calls otherwise; then its
// value, where the setting names one behind a blank.
std::string option_of(std::string_view setting) {
  const std::size_t blank = std::min(setting.find(' '), setting.size());
  const std::string value(setting.substr(blank));
  setting = setting.substr(0, blank);
  constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
      {"precision", "dtype"}, {"max_seconds", "max-audio-seconds"}};
  for (const auto& [name, option] : kOtherNames) {
    if (setting == name) setting = option;
  }
  std::string option(setting);
  std::replace(option.begin(), option.end(), '_', '-');
  return "--" + option + quote_bytes(value);
}

std::string with_path(const std::string& path, std::string_view message) {
  const std::string text = quote_bytes(message, kMaxMessageBytes);
  return path.empty() ? text : quote_bytes(path) + ": " + text;
}

}  // namespace

std::string message_of(const Error& error) {
  std::string what = error.what();
  if (error.setting().empty()) return what;
  const std::string option = option_of(error.setting());
  if (error.key() != error.setting()) return what + " (" + option + ")";
  const std::string before = error.path().empty() ? "" : quote_bytes(error.path()) + ": ";
  return before + option + what.substr(before.size() + error.key().size());
}

std::string one_line(const c10::Error& error) {
  const std::string_view text = error.what_without_backtrace();
  return quote_bytes(text.substr(0, text.find('\n')), kMaxMessageBytes);
}

// What an error that is_out_of_memory() says, in our words where LibTorch's are those of its
// source.
std::string memory_message(const c10::Error& error) {
  const std::string_view text = error.what_without_backtrace();
  constexpr std::string_view kAllocation = "you tried to allocate ";
  const std::size_t found = text.find(kAllocation);
  if (found == std::string_view::npos) return "not enough memory: " + one_line(error);
  const std::string_view rest = text.substr(found + kAllocation.size());
  return "not enough memory: " + std::string(rest.substr(0, rest.find(' '))) +
         " bytes more were asked for";
}

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return true;
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error)) return true;
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  // c10/core/impl/alloc_cpu.cpp: "DefaultCPUAllocator: can't allocate memory: you tried to ..."
  return torch_error &&
         std::string_view(torch_error->what_without_backtrace()).find("can't allocate memory") !=
             std::string_view::npos;
}

Description describe(std::exception_ptr exception, const std::string& path) noexcept {
  try {
    try {
      std::rethrow_exception(std::move(exception));
    } catch (const RequestError& error) {
      return {error.kind(), message_of(error)};
    } catch (const Interrupted&) {
      return {"interrupted", with_path(path, "was not done, the program is ending")};
    } catch (const AudioError& error) {
      const std::string kind = path.empty() ? "audio" : kind_of_file(path);
      return {kind,
              message_of(error) + (S_ISDIR(mode_at(path))
                                       ? ", expected an audio file (--manifest takes those in a "
                                         "directory)"
                                       : "")};
    } catch (const Error& error) {
      const char* const kind = dynamic_cast<const RangeError*>(&error) ? "range" : "model";
      return {kind, error.path().empty() ? with_path(path, message_of(error)) : message_of(error)};
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) {
        return {"memory", with_path(path, memory_message(error))};
      }
      return {"model", with_path(path, one_line(error))};
    } catch (const std::system_error& error) {
      if (error.code() == std::errc::resource_unavailable_try_again) {
        return {"memory",
                with_path(path,
                          "a thread cannot be started, expected a higher limit on processes "
                          "or memory (ulimit -u, ulimit -v), or fewer threads")};
      }
      return {"internal", with_path(path, error.what())};
    } catch (const std::exception& error) {
      if (is_out_of_memory(error)) return {"memory", with_path(path, "not enough memory")};
      return {"internal", with_path(path, error.what())};
    } catch (...) {
      return {"internal", with_path(path, "an exception of unknown type")};
    }
  } catch (...) {
    return {"memory", "not enough memory"};  // a message could not be put together
  }
}

}  // namespace w2vbert::tool
