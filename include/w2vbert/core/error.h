// The errors this library throws for things of the outside world: files, configs, audio, storage.
// A wrong tensor from the caller is a c10::ValueError (TORCH_CHECK_VALUE) instead.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace w2vbert {

/// What is wrong with one file, key or tensor. what() is one line,
///   `<path>: <key>: <problem>, expected <expected>`
/// where empty parts are left out. Control characters and bytes that are not UTF-8 are written as
/// \\xNN, and each part is cut, with "..." at its end: path and key after 200 bytes, the problem
/// after 1200, what was expected after 400. So the line can be shown, and stays under 2 KB,
/// whatever a file contains.
class Error : public std::runtime_error {
 public:
  Error(std::string_view path, std::string_view key, std::string_view problem,
        std::string_view expected = {}, std::string_view setting = {});

  const std::string& path() const noexcept { return path_; }
  const std::string& key() const noexcept { return key_; }
  /// The option of this library that would have to be another, such as "max_seconds"; often "".
  const std::string& setting() const noexcept { return setting_; }

 private:
  std::string path_;
  std::string key_;
  std::string setting_;
};

/// config.json, preprocessor_config.json: a value that is malformed, out of range or not supported.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A checkpoint: safetensors files, their index, names, shapes and dtypes; a model that is not
/// found.
class CheckpointError : public Error {
 public:
  using Error::Error;
};

/// An audio file that cannot be read whole and trusted.
class AudioError : public Error {
 public:
  using Error::Error;
};

/// A place that cannot be written: not a directory, read-only, full, lost.
class StorageError : public Error {
 public:
  using Error::Error;
};

/// A request that does not fit the model, the machine or what is there already; a setting that is
/// malformed or out of range.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace w2vbert
