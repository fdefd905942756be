// w2vbert doctor: what this program runs on, and what to do about what is off.
#include <ATen/Config.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>
#include <sndfile.h>
#include <soxr.h>
#include <torch/version.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/environment.h"
#include "core/file.h"
#include "core/text.h"
#include "core/threads.h"
#include "engine/device/choose_ops.h"
#include "engine/device/device_model.h"
#include "engine/device/kernel_library.h"
#include "engine/fused_encoder.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/corpus/archive.h"
#include "tool/store/json_text.h"
#include "tool/tasks/type_comparison.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/config/hf_version.h"
#include "w2vbert/core/device.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

struct Finding {
  std::string name;
  std::string value;
  std::string advice;  // empty: nothing is off
};

// "TORCH_VERSION=2.11.0, " in the build settings that the loaded library reports.
std::string loaded_torch_version(const std::string& settings) {
  constexpr std::string_view kKey = "TORCH_VERSION=";
  const std::size_t begin = settings.find(kKey);
  if (begin == std::string::npos) return "unknown";
  const std::size_t end = settings.find_first_of(", \n", begin);
  return settings.substr(begin + kKey.size(), end - begin - kKey.size());
}

Finding torch_finding() {
  const std::string loaded = loaded_torch_version(at::show_config());
  Finding finding{"LibTorch", TORCH_VERSION " (compiled against), " + loaded + " (loaded)", ""};
  if (loaded != TORCH_VERSION) {
    finding.advice =
        "build w2vbert against the LibTorch it loads (-DTorch_DIR=...), or fix "
        "LD_LIBRARY_PATH";
  }
  return finding;
}

Finding hf_version_finding() {
  return {"transformers",
          fmt::format("as {} (--hf-version takes {} to {})", name_of(kNewestHfVersion),
                      name_of(kOldestHfVersion), name_of(kNewestHfVersion)),
          ""};
}

Finding libav_finding() {
  std::string version;
  try {
    version = libav_version();
  } catch (const AudioError& error) {
    return {"libav", error.what(),
            "only needed for M4A, AAC, WebM, WMA and others: install FFmpeg's libraries"};
  }
  if (!version.empty()) return {"libav", version + " (M4A, AAC, WebM, WMA and others)", ""};
  return {"libav", "not in this build",
          "only needed for M4A, AAC, WebM, WMA and others: install libavformat-dev and "
          "libswresample-dev and configure anew, or convert such files with ffmpeg"};
}

Finding libarchive_finding() {
  std::string version;
  try {
    version = libarchive_version();
  } catch (const AudioError& error) {
    return {"libarchive", error.what(), "only needed for tars: install libarchive's library"};
  }
  if (!version.empty()) return {"libarchive", version + " (tars)", ""};
  return {"libarchive", "not in this build",
          "only needed for tars: install libarchive-dev and configure anew, or unpack them"};
}

Finding cpu_finding() {
  const std::string capability = at::get_cpu_capability();
  Finding finding{"CPU kernels", capability, ""};
  if (environment_variable("ATEN_CPU_CAPABILITY")) {
    finding.advice = "ATEN_CPU_CAPABILITY is set; unset it for the fastest kernels";
  } else if (capability == "DEFAULT" || capability == "NO AVX") {
    finding.advice = "this processor has no AVX2: several times slower";
  }
  return finding;
}

Finding threads_finding() {
  const int cores = usable_cores();
  Finding finding{"threads", fmt::format("{} (cores this process may use)", cores), ""};
  const auto limit = environment_variable("OMP_NUM_THREADS");
  if (limit && *limit != std::to_string(cores)) {
    finding.advice =
        fmt::format("OMP_NUM_THREADS={} is not used: --threads decides", quote_bytes(*limit));
  }
  return finding;
}

Finding onednn_finding() {
  Finding finding{"oneDNN", at::hasMKLDNN() ? "yes" : "no", ""};
  if (!at::hasMKLDNN())
    finding.advice = "this LibTorch was built without oneDNN; convolutions are slow";
  return finding;
}

Finding engine_finding() {
  Finding finding{"fused engine", FusedEncoder::kernels(), ""};
  if (finding.value.find("no oneDNN") != std::string::npos) {
    finding.advice = "oneDNN has no matrix kernels for this processor (AVX2 is the least): slow";
  }
  return finding;
}

// `gpu`: whether there is one.
Finding device_engine_finding(bool gpu) {
  Finding finding{"device engine", "in LibTorch's operations: its own kernels need a GPU", ""};
  // For the published model's sizes.
  for (const Precision precision : {Precision::float32, Precision::float16, Precision::bfloat16}) {
    if (!gpu) break;
    const OpsChoice ops = choose_ops(Wav2Vec2BertConfig(), c10::kCUDA, dtype_of(precision));
    finding.value = quote_bytes(ops.text, 500);
    if (!ops.own_kernels) break;
  }
  finding.value += "; no GPU had run it when this version was made";
  finding.value += device_engine_is_wanted() ? "; chosen by W2VBERT_DEVICE_ENGINE=1"
                                             : "; W2VBERT_DEVICE_ENGINE=1 chooses it anywhere";
  return finding;
}

Finding gpu_kernels_finding() {
  const LoadedKernels& kernels = kernel_library();
  if (kernels.library != nullptr) return {"GPU kernels", quote_bytes(kernels.path, 500), ""};
  return {"GPU kernels", "none: " + quote_bytes(kernels.problem, 500),
          "only needed for the device engine's speed on a GPU"};
}

Finding mkl_finding() {
  Finding finding{"MKL", at::hasMKL() ? "yes" : "no", ""};
  if (!at::hasMKL())
    finding.advice = "this LibTorch was built without MKL; other bits than PyTorch's";
  return finding;
}

Finding cuda_finding() {
  const std::string problem = load_cuda_backend();
  Finding finding{"CUDA", "", ""};
  if (problem.empty()) {
    finding.value = fmt::format("usable, {} device(s)", at::detail::getCUDAHooks().deviceCount());
    return finding;
  }
  finding.value = "not usable: " + quote_bytes(problem, 500);
  finding.advice = "only needed for --device cuda";
  return finding;
}

Finding hub_finding() {
  const std::string path = hub_cache_directory();
  try {
    if (is_directory(path)) return {"Hub cache", quote_bytes(path), ""};
  } catch (const StorageError& error) {
    return {"Hub cache", error.what(), "make it readable, or give --model a directory"};
  }
  return {"Hub cache", quote_bytes(path) + " (not there)",
          "`hf download facebook/w2v-bert-2.0` makes it; or give --model a directory"};
}

// What each --dtype gives here, and how many times as fast as float32 it is.
struct TypesTable {
  Json json = Json::array();
  std::string text;
};

TypesTable types_table() {
  TypesTable table;
  std::vector<TypeOfThisMachine> types;
  try {
    types = compare_types();
  } catch (const c10::OutOfMemoryError&) {
    table.text = "\ntypes        not measured: there is too little memory\n";
    return table;
  }
  table.text = fmt::format(
      "\nTypes (--dtype): one layer of the published model's size with random weights, 5 s of "
      "features, {} threads\n\n{:<10} {:>8} {:>8} {:>9}\n",
      at::get_num_threads(), "dtype", "ms", "speed", "error");
  for (const TypeOfThisMachine& type : types) {
    const std::string name = name_of(type.precision);
    if (!type.unsupported.empty()) {
      table.text += fmt::format("{:<10} -> {}\n", name, type.unsupported);
      table.json.push_back({{"dtype", name}, {"unsupported", type.unsupported}});
      continue;
    }
    table.text += fmt::format("{:<10} {:>8.1f} {:>8.2f} {:>9.1e}\n", name, 1e3 * type.seconds,
                              type.speed, type.error);
    table.json.push_back(
        {{"dtype", name}, {"seconds", type.seconds}, {"speed", type.speed}, {"error", type.error}});
  }
  table.text +=
      "\nspeed: how many times as fast as float32. error: of the layer's output beside float32's "
      "(Euclidean norms).\n`w2vbert bench --dtype all --model M` measures a whole model.\n";
  return table;
}

struct DoctorOptions {
  OutputOptions output;
};

int run(const DoctorOptions& options) {
  // First of all: LibTorch asks for its CUDA backend once and remembers the answer.
  Finding cuda = cuda_finding();
  const std::vector<Finding> findings = {
      {"w2vbert", version(), ""},
      torch_finding(),
      hf_version_finding(),
      {"libsndfile", ::sf_version_string(), ""},
      {"soxr", ::soxr_version(), ""},
      libav_finding(),
      libarchive_finding(),
      cpu_finding(),
      threads_finding(),
      onednn_finding(),
      engine_finding(),
      device_engine_finding(cuda.advice.empty()),
      gpu_kernels_finding(),
      mkl_finding(),
      std::move(cuda),
      hub_finding(),
  };
  apply_threads({});
  TypesTable types = types_table();
  if (options.output.json) {
    Json report = {{"command", "doctor"}};
    Json list = Json::array();
    for (const Finding& finding : findings) {
      list.push_back(
          {{"name", finding.name}, {"value", finding.value}, {"advice", finding.advice}});
    }
    report["findings"] = std::move(list);
    report["types"] = std::move(types.json);
    report["libtorch_build"] = at::show_config();
    print_result(json_text(report));
    return kDone;
  }
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{:<14}{}\n", finding.name, finding.value);
    if (!finding.advice.empty()) text += fmt::format("{:<14}-> {}\n", "", finding.advice);
  }
  text += types.text + "\n" + at::show_config();
  print_result(text);
  return kDone;
}

}  // namespace

Run add_doctor(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "doctor",
      "Versions, LibTorch's build, CPU, threads, CUDA, what to do about what is off, and how fast "
      "and exact each type is here");
  const auto options = std::make_shared<DoctorOptions>();
  options->output.add_to(command);
  command.footer("Example:\n  w2vbert doctor");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
