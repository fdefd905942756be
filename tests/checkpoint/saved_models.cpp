// The C++ half of compare_saved_models.py and compare_lora.py.
//   saved_models write DIRECTORY   saves models of every class and of varied configs into it, each
//   in
//                                  a directory of its own, and prints a line of JSON about each
//   saved_models check DIRECTORY   loads each again from <its directory>.again, as transformers
//   saved
//                                  it, and compares all bits; exit 1 where they differ
//   saved_models merge             loads the model with the adapter that a line of stdin names,
//                                  "MODEL<tab>ADAPTER<tab>DTYPE<tab>OUTPUT", and saves it; prints a
//                                  line each: "merged", or what was wrong
#include <torch/types.h>
#include <torch/utils.h>

#include <cstring>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/random_parameters.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/save_pretrained.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"

namespace w2vbert::testing {
namespace {

constexpr int kConfigs = 4;  // of each class
constexpr const char* kShardSizes[] = {"50GB", "30KB"};
constexpr torch::ScalarType kDtypes[] = {torch::kFloat, torch::kBFloat16};

// One of `choices`.
template <typename T>
T pick(std::mt19937& random, std::vector<T> choices) {
  return choices[random() % choices.size()];
}

// The first of each class has an adapter where the class takes one.
Wav2Vec2BertConfig random_config(const std::string& architecture, int number) {
  std::mt19937 random(static_cast<std::uint32_t>(number));
  const auto chance = [&] { return random() % 2 == 0; };
  Wav2Vec2BertConfig config;
  config.architectures = {architecture};
  config.num_attention_heads = pick<std::int64_t>(random, {1, 2, 4});
  config.hidden_size = config.num_attention_heads * pick<std::int64_t>(random, {4, 6, 8});
  config.intermediate_size = pick<std::int64_t>(random, {5, 24, 33});
  config.num_hidden_layers = pick<std::int64_t>(random, {1, 2, 11});
  config.feature_projection_input_dim = pick<std::int64_t>(random, {16, 160});
  config.conv_depthwise_kernel_size = pick<std::int64_t>(random, {1, 5, 31});
  config.hidden_act = pick<std::string>(random, {"swish", "gelu", "prelu"});
  config.position_embeddings_type = pick<std::optional<std::string>>(
      random, {"relative_key", "relative", "rotary", std::nullopt});
  config.left_max_position_embeddings = pick<std::int64_t>(random, {0, 9, 64});
  config.max_source_positions = 50;
  config.mask_time_prob = pick<double>(random, {0.0, 0.05});
  config.mask_feature_prob = pick<double>(random, {0.0, 0.1});
  config.final_dropout = pick<double>(random, {0.0, 1.0 / 3});
  config.layer_norm_eps = pick<double>(random, {1e-5, 1e-7});
  config.use_weighted_layer_sum = chance();
  config.vocab_size = pick<std::int64_t>(random, {5, 32});
  config.num_labels = pick<std::int64_t>(random, {2, 12});
  if (chance()) {
    for (std::int64_t id = 0; id < config.num_labels; ++id) {
      config.id2label[id] = "n\xC3\xB6 " + std::to_string(id);
    }
    auto& ids = config.label2id.emplace();
    for (const auto& [id, label] : config.id2label) ids[label] = id;
  }
  config.classifier_proj_size = 9;
  config.tdnn_dim = {8, 6};
  config.tdnn_kernel = {3, 2};
  config.tdnn_dilation = {1, 2};
  config.xvector_output_dim = 10;
  config.eos_token_id = pick<std::vector<std::int64_t>>(random, {{}, {2}, {2, 3}});
  const bool may_adapt = architecture == "Wav2Vec2BertModel" ||
                         architecture == "Wav2Vec2BertForCTC" ||
                         architecture == "Wav2Vec2BertForXVector";
  config.add_adapter = may_adapt && (number == 0 || chance());
  if (config.add_adapter) {
    config.num_adapter_layers = pick<std::int64_t>(random, {0, 1, 2});
    config.use_intermediate_ffn_before_adapter = chance();
    if (architecture != "Wav2Vec2BertForXVector" && (number == 0 || chance())) {
      config.output_hidden_size = config.num_attention_heads * 5;
    }
  }
  return config;
}

AnyModel make_model(const std::string& architecture, int number, torch::ScalarType dtype) {
  torch::manual_seed(static_cast<std::uint64_t>(number));
  AnyModel model(random_config(architecture, number));
  randomize_parameters(*model, static_cast<std::uint64_t>(number));
  // place_module: what HF keeps in float32 (tables of positions) stays so.
  FromPretrainedOptions options;
  options.dtype = dtype;
  detail::place_module(*model, options, detail::ParameterValues::kept);
  return model;
}

template <class Function>
void for_each_case(const std::string& root, Function function) {
  for (const std::string& architecture : AnyModel::classes()) {
    for (int number = 0; number < kConfigs; ++number) {
      for (const auto dtype : kDtypes) {
        for (const char* const size : kShardSizes) {
          const std::string directory = root + "/" + architecture + "-" + std::to_string(number) +
                                        "-" + c10::toString(dtype) + "-" + size;
          function(directory, architecture, number, dtype, size);
        }
      }
    }
  }
}

void write(const std::string& root) {
  for_each_case(root, [](const std::string& directory, const std::string& architecture, int number,
                         torch::ScalarType dtype, const char* size) {
    save_pretrained(make_model(architecture, number, dtype), directory, {.max_shard_size = size});
    const nlohmann::json line = {
        {"directory", directory}, {"architecture", architecture}, {"max_shard_size", size}};
    std::cout << line.dump() << '\n';
  });
}

void merge() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    std::string model, adapter, dtype, output;
    std::getline(fields, model, '\t');
    std::getline(fields, adapter, '\t');
    std::getline(fields, dtype, '\t');
    std::getline(fields, output, '\t');
    FromPretrainedOptions options;
    options.lora = adapter;
    for (const auto type : {torch::kFloat, torch::kHalf, torch::kBFloat16, torch::kDouble}) {
      if (dtype == c10::toString(type)) options.dtype = type;
    }
    try {
      save_pretrained(from_pretrained<AnyModel>(model, options), output);
      std::cout << "merged\n";
    } catch (const Error& error) {
      std::cout << error.what() << '\n';
    }
  }
}

int check(const std::string& root) {
  int different = 0;
  for_each_case(root, [&](const std::string& directory, const std::string& architecture, int number,
                          torch::ScalarType dtype, const char*) {
    const AnyModel expected = make_model(architecture, number, dtype);
    FromPretrainedOptions options;
    options.dtype = dtype;
    const auto loaded = load_pretrained<AnyModel>(directory + ".again", options);
    std::string problem;
    for (const std::string& warning : loaded.report.warnings) problem = warning;
    if (!loaded.report.unexpected.empty()) problem = loaded.report.unexpected.front();
    const auto found = loaded.model->named_parameters();
    for (const auto& item : expected->named_parameters()) {
      const torch::Tensor& value = item.value();
      const torch::Tensor* other = found.find(item.key());
      if (other == nullptr || other->scalar_type() != value.scalar_type() ||
          std::memcmp(other->const_data_ptr(), value.const_data_ptr(), value.nbytes()) != 0) {
        problem = item.key() + " differs";
      }
    }
    if (loaded.config.to_json() != expected.config().to_json()) {
      // Those of `expected` were not written yet.
      Wav2Vec2BertConfig config = expected.config();
      config.dtype = dtype == torch::kFloat ? "float32" : "bfloat16";
      if (loaded.config.to_json() != config.to_json()) problem = "the config differs";
    }
    if (!problem.empty()) {
      std::cout << directory << ".again: " << problem << '\n';
      ++different;
    }
  });
  return different == 0 ? 0 : 1;
}

}  // namespace
}  // namespace w2vbert::testing

int main(int count, char** arguments) {
  try {
    const std::string what = count == 3 ? arguments[1] : "";
    if (what == "write") return w2vbert::testing::write(arguments[2]), 0;
    if (what == "check") return w2vbert::testing::check(arguments[2]);
    if (count == 2 && std::string(arguments[1]) == "merge") return w2vbert::testing::merge(), 0;
    std::cerr << "usage: saved_models write|check DIRECTORY, or saved_models merge\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
