#pragma once

namespace w2vbert {

/// A module whose own buffers are no part of a checkpoint: nn.Buffer(..., persistent=False) in
/// Python. LibTorch's register_buffer knows no such difference.
class NonPersistentBuffers {
 public:
  virtual ~NonPersistentBuffers() = default;
};

}  // namespace w2vbert
