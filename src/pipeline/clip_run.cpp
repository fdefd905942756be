#include "w2vbert/pipeline/clip_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "clip_reader.h"
#include "stopwatch.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/text.h"
#include "w2vbert/pipeline/failure.h"
#include "w2vbert/pipeline/place.h"
#include "w2vbert/pipeline/sha256.h"

namespace w2vbert {
namespace {


std::string folder_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

// The data section as write_safetensors lays it out: the largest elements first, then by name.
std::string data_digest(const NamedTensors& tensors) {
  std::vector<const NamedTensors::value_type*> order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const auto size_a = a->second.element_size();
    const auto size_b = b->second.element_size();
    return size_a != size_b ? size_a > size_b : a->first < b->first;
  });
  Sha256 sha;
  for (const auto* tensor : order) {
    sha.add(std::span(static_cast<const std::byte*>(tensor->second.const_data_ptr()),
                      tensor->second.nbytes()));
  }
  return sha.hex();
}

struct Plan {
  ClipRunPlan counts;
  std::vector<std::size_t> pending;
};

Plan plan_run(const InputList& inputs, const ClipRunRequest& request, const RunDirectory& directory) {
  Plan plan;
  std::set<std::string> folders;
  std::vector<std::size_t> damaged;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = inputs.name(i);
    if (!request.shard.holds(name)) continue;
    ++plan.counts.inputs;
    folders.insert(folder_of(name));
    switch (directory.state_of(name, request.verify)) {
      case OutputState::kFinished:
        ++plan.counts.finished;
        continue;
      case OutputState::kDamaged:
        damaged.push_back(i);
        [[fallthrough]];
      case OutputState::kAbsent:
        plan.pending.push_back(i);
    }
  }
  plan.counts.damaged = damaged.size();
  // All has been looked at and nothing refused: from here on the directory may change.
  for (const std::string& folder : folders) {
    plan.counts.temporaries += directory.remove_stale_temporaries(folder);
  }
  for (const std::size_t i : damaged) directory.remove_damaged(inputs.name(i), inputs.path(i));
  return plan;
}

// The stage a clip was in, for its failure.
struct ClipWork {
  const InputList& inputs;
  const ClipFunction& function;
  RunDirectory& directory;

  ClipReport finish(ReadClip& clip, const char*& stage) const {
    stage = "read";
    if (clip.failure) std::rethrow_exception(clip.failure);
    ClipReport report;
    report.path = inputs.path(clip.index);
    report.name = inputs.name(clip.index);
    report.output = directory.output_path(report.name);
    report.frames = clip.features.input_features.size(0);
    report.source_sample_rate_hz = clip.source_sample_rate_hz;
    report.source_channels = clip.source_channels;
    report.audio_seconds = static_cast<double>(clip.samples) / clip.sample_rate_hz;
    report.read_seconds = clip.read_seconds;

    stage = "model";
    Stopwatch watch;
    NamedTensors tensors = function(clip.features);
    for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kCPU).contiguous();
    report.compute_seconds = clip.feature_seconds + watch.seconds();

    stage = "write";
    watch = Stopwatch();
    const SafetensorsMetadata metadata = {
        {"fingerprint", directory.digest()},
        {"input", quote_bytes(report.name, report.name.size() * 4)},
        {"frames", std::to_string(report.frames)},
        {"samples", std::to_string(clip.samples)},
        {"sample_rate_hz", std::to_string(clip.sample_rate_hz)},
        {"source_sample_rate_hz", std::to_string(clip.source_sample_rate_hz)},
        {"source_channels", std::to_string(clip.source_channels)},
        {"sha256", data_digest(tensors)},
    };
    directory.prepare(report.name);
    write_safetensors(report.output, tensors, metadata);
    report.write_seconds = watch.seconds();
    return report;
  }
};

}  // namespace

ClipRunSummary run_clips(const InputList& inputs, const ClipRunRequest& request,
                         RunDirectory& directory, const ClipRunEvents& events) {
  const at::NoGradGuard no_grad;
  ClipRunSummary summary;
  const Plan plan = plan_run(inputs, request, directory);
  summary.plan = plan.counts;
  events.planned(plan.counts);
  if (plan.pending.empty()) {
    directory.start();
    return summary;
  }
  // The first clip is read while the model loads.
  ClipReader reader(inputs, plan.pending, request);
  const ClipFunction function = request.prepare();
  directory.start();
  const ClipWork work{inputs, function, directory};
  const Stopwatch watch;
  for (std::size_t i = 0; i < plan.pending.size(); ++i) {
    if (request.stop_requested()) {
      summary.stopped = true;
      break;
    }
    ReadClip clip = reader.next();
    const char* stage = "read";
    std::optional<ClipFailure> failure;
    try {
      const ClipReport report = work.finish(clip, stage);
      ++summary.done;
      summary.audio_seconds += report.audio_seconds;
      events.finished(report);
    } catch (const StorageError&) {
      throw;
    } catch (const CheckpointError&) {  // weights that are read as they are needed
      throw;
    } catch (const c10::AcceleratorError& error) {
      throw DeviceError("", "", "the device is lost: " + one_line(error));
    } catch (...) {
      const std::string path = inputs.path(clip.index);
      const Description description = describe(std::current_exception(), path);
      failure = {path, stage, description.kind, description.message};
    }
    if (failure) {  // outside the handler, which may hold the clip's memory
      ++summary.failed;
      directory.record(*failure);
      events.failed(*failure);
    }
  }
  summary.elapsed_seconds = watch.seconds();
  return summary;
}

void check_no_input_is_an_output(const InputList& inputs, const std::string& output_directory) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string path = inputs.path(i);
    // An input elsewhere that only links to an output is found when the output would be removed.
    if (!path.ends_with(kOutputEnding)) continue;
    if (is_same_file(path, output_directory + "/" + inputs.name(i) + std::string(kOutputEnding))) {
      throw UsageError(path, "", "would be overwritten by its own output",
                       "another output directory");
    }
  }
}

}  // namespace w2vbert
