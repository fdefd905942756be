// Copies between the CPU and a device, and the stream of a GPU that they are queued in.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include <optional>
#include <vector>

namespace w2vbert {

// A table of the CPU's on a device. The copy to a GPU is queued, not waited for.
at::Tensor upload(const at::Tensor& table, c10::Device device);

// The tensors on the CPU, contiguous. What is on a GPU is copied into pinned memory, where there is
// some, and waited for once for all.
std::vector<at::Tensor> download(const std::vector<at::Tensor>& tensors);

// A stream for the batches of one thread: while it copies, a GPU computes what is queued in the
// stream of another thread. On a CPU, which has no streams, nothing.
class DeviceStream {
 public:
  // Begins behind what is queued in the current stream by now, such as weights on their way.
  explicit DeviceStream(c10::Device device);

  // What this thread queues on the device while it lives goes into the stream.
  class Use {
   public:
    explicit Use(const DeviceStream& stream) : guard_(stream.stream_) {}

   private:
    c10::OptionalStreamGuard guard_;
  };

 private:
  std::optional<c10::Stream> stream_;
};

}  // namespace w2vbert
