// Whether kernels compute what LibTorch's operations do, on the device at hand.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/device/device_ops.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// What decides which kernels a model runs, and with which sizes.
struct KernelSizes {
  std::int64_t features = 0;       // F
  std::int64_t channels = 0;       // C
  std::int64_t intermediate = 0;   // of the feed-forward modules
  std::int64_t adapter_width = 0;  // of the adapter's output, or 0
  std::int64_t heads = 0, kernel_size = 0, left = 0, right = 0;
  bool positions = true, sdpa = true;
  std::string act, adapter_act;  // of the encoder, and of the adapter's feed-forward or ""
  double eps = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;

  // One line, for which two that differ differ.
  std::string text() const;
};
KernelSizes kernel_sizes(const Wav2Vec2BertConfig& config, c10::ScalarType dtype);

// Computes each step of a small ragged batch with masks in `ops` on `device`, and in LibTorch's
// operations in float64. A step whose bits are those of LibTorch's operations in the same type
// agrees, which holds for all that fall back on these. Returns a line for each step that does not
// agree, with its error. Throws what LibTorch throws.
std::vector<std::string> check_kernels(const DeviceOps& ops, const KernelSizes& sizes,
                                       c10::Device device);

// What a check of one device, library and model's sizes said, remembered in the user's cache.
class KernelRecord {
 public:
  // `about`: lines that name all that the result depends on. `folder`: where records are kept, or
  // "": nowhere.
  KernelRecord(std::string about, const std::string& folder);

  const std::string& path() const { return path_; }  // "": nothing is remembered
  // The lines of the steps that differ. Nothing where nothing, or nothing whole, is remembered.
  std::optional<std::vector<std::string>> read() const;
  // What cannot be written is not remembered.
  void write(const std::vector<std::string>& differences) const;
  void remove() const;

 private:
  std::string about_, folder_, path_;
};

// $XDG_CACHE_HOME/w2vbert/kernels or ~/.cache/w2vbert/kernels; "" where neither is known.
std::string kernel_record_folder();

}  // namespace w2vbert
