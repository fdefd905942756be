#include "w2vbert/config/wav2vec2_bert_config.h"

#include <array>

#include "config/config_json.h"
#include "config/config_table.h"
#include "core/parse_number.h"

namespace w2vbert {
namespace {

using Config = Wav2Vec2BertConfig;
using Field = ConfigField<Config>;

constexpr double kMaxWidth = 1 << 20;  // of a layer, far above any real one
constexpr double kMaxLayers = 1 << 12;
constexpr double kMaxFrames = 1 << 24;  // 93 hours of 20 ms frames
constexpr double kMaxTokens = 1 << 24;
constexpr double kMaxLabels = 1 << 24;
constexpr double kMaxParameters = 1e11;  // 170 times the published model
constexpr double kNoLimit = 0;           // words and flags
constexpr bool kOmitDefault = true;
constexpr const char* kModelType = "wav2vec2-bert";
constexpr const char* kTie = "tie_last_hidden_states";

// HF's ACT2FN without xielu, whose parameters are bfloat16 in a model of any dtype.
constexpr std::string_view kActivations[] = {"gelu",
                                             "gelu_10",
                                             "gelu_accurate",
                                             "gelu_fast",
                                             "gelu_new",
                                             "gelu_python",
                                             "gelu_python_tanh",
                                             "gelu_pytorch_tanh",
                                             "hardswish",
                                             "laplace",
                                             "leaky_relu",
                                             "linear",
                                             "mish",
                                             "prelu",
                                             "quick_gelu",
                                             "relu",
                                             "relu2",
                                             "relu6",
                                             "sigmoid",
                                             "silu",
                                             "sqrtsoftplus",
                                             "swish",
                                             "tanh"};
constexpr std::string_view kPositions[] = {"relative_key", "relative", "rotary"};
constexpr std::string_view kReductions[] = {"sum", "mean", "none"};
constexpr std::string_view kProblems[] = {"regression", "single_label_classification",
                                          "multi_label_classification"};
constexpr std::string_view kDtypes[] = {"float32", "float16", "bfloat16", "float64"};
constexpr std::string_view kAttentions[] = {"sdpa", "eager"};

const Field kFields[] = {
    {"vocab_size", &Config::vocab_size, 1, kMaxTokens, "outputs of the CTC head"},
    {"hidden_size", &Config::hidden_size, 1, kMaxWidth, "width C of the encoder"},
    {"num_hidden_layers", &Config::num_hidden_layers, 1, kMaxLayers, "encoder layers"},
    {"num_attention_heads", &Config::num_attention_heads, 1, kMaxWidth, "attention heads H"},
    {"intermediate_size", &Config::intermediate_size, 1, kMaxWidth, "inner width of the FFNs"},
    {"feature_projection_input_dim", &Config::feature_projection_input_dim, 1, kMaxWidth,
     "width of input_features: num_mel_bins * stride"},
    {"hidden_act", &Config::hidden_act, kNoLimit, kNoLimit, "activation of FFNs and convolution",
     kActivations},
    {"hidden_dropout", &Config::hidden_dropout, 0, 1, "dropout before the layers and in the FFNs"},
    {"activation_dropout", &Config::activation_dropout, 0, 1, "dropout inside the FFNs"},
    {"attention_dropout", &Config::attention_dropout, 0, 1,
     "dropout of attention weights and output"},
    {"feat_proj_dropout", &Config::feat_proj_dropout, 0, 1, "dropout after the feature projection"},
    {"final_dropout", &Config::final_dropout, 0, 1, "dropout before the CTC head"},
    {"layerdrop", &Config::layerdrop, 0, 1, "probability of skipping a layer in training"},
    {"initializer_range", &Config::initializer_range, 0, 1e3, "standard deviation of new weights"},
    {"layer_norm_eps", &Config::layer_norm_eps, 0, 1, "epsilon of every LayerNorm"},
    {"apply_spec_augment", &Config::apply_spec_augment, kNoLimit, kNoLimit,
     "SpecAugment on or off"},
    {"mask_time_prob", &Config::mask_time_prob, 0, 1, "SpecAugment: share of frames"},
    {"mask_time_length", &Config::mask_time_length, 1, kMaxFrames, "SpecAugment: frames a span"},
    {"mask_time_min_masks", &Config::mask_time_min_masks, 0, kMaxFrames,
     "SpecAugment: least spans"},
    {"mask_feature_prob", &Config::mask_feature_prob, 0, 1, "SpecAugment: share of channels"},
    {"mask_feature_length", &Config::mask_feature_length, 1, kMaxWidth,
     "SpecAugment: channels a span"},
    {"mask_feature_min_masks", &Config::mask_feature_min_masks, 0, kMaxWidth,
     "SpecAugment: least spans"},
    {"ctc_loss_reduction", &Config::ctc_loss_reduction, kNoLimit, kNoLimit,
     "of the CTC loss over the batch", kReductions},
    {"ctc_zero_infinity", &Config::ctc_zero_infinity, kNoLimit, kNoLimit,
     "infinite CTC losses become 0"},
    {"use_weighted_layer_sum", &Config::use_weighted_layer_sum, kNoLimit, kNoLimit,
     "heads see a learnt mean of all states"},
    {"classifier_proj_size", &Config::classifier_proj_size, 1, kMaxWidth,
     "width before the classifier"},
    {"tdnn_dim", &Config::tdnn_dim, 1, kMaxWidth, "x-vector head: widths"},
    {"tdnn_kernel", &Config::tdnn_kernel, 1, kMaxFrames, "x-vector head: kernels"},
    {"tdnn_dilation", &Config::tdnn_dilation, 1, kMaxFrames, "x-vector head: dilations"},
    {"xvector_output_dim", &Config::xvector_output_dim, 1, kMaxWidth,
     "x-vector head: embedding width"},
    {"pad_token_id", &Config::pad_token_id, -1, kMaxTokens, "the CTC blank"},
    {"bos_token_id", &Config::bos_token_id, -1, kMaxTokens, "not used by the model"},
    {"add_adapter", &Config::add_adapter, kNoLimit, kNoLimit,
     "convolutional adapter after the encoder"},
    {"adapter_kernel_size", &Config::adapter_kernel_size, 1, kMaxFrames,
     "adapter convolution kernel"},
    {"adapter_stride", &Config::adapter_stride, 1, kMaxFrames, "adapter convolution stride"},
    {"num_adapter_layers", &Config::num_adapter_layers, 0, kMaxLayers, "adapter layers"},
    {"adapter_act", &Config::adapter_act, kNoLimit, kNoLimit, "activation of the adapter's FFN",
     kActivations},
    {"use_intermediate_ffn_before_adapter", &Config::use_intermediate_ffn_before_adapter, kNoLimit,
     kNoLimit, "one more FFN between encoder and adapter"},
    {"output_hidden_size", &Config::output_hidden_size, 0, kMaxWidth,
     "adapter width; null: hidden_size"},
    {"position_embeddings_type", &Config::position_embeddings_type, kNoLimit, kNoLimit,
     "how attention sees distances", kPositions},
    {"rotary_embedding_base", &Config::rotary_embedding_base, 1, 1e15,
     "rotary: base of the frequencies"},
    {"max_source_positions", &Config::max_source_positions, 1, kMaxFrames,
     "relative: first table size"},
    {"left_max_position_embeddings", &Config::left_max_position_embeddings, 0, kMaxFrames,
     "relative_key: distances to the left are clipped here"},
    {"right_max_position_embeddings", &Config::right_max_position_embeddings, 0, kMaxFrames,
     "relative_key: distances to the right are clipped here"},
    {"conv_depthwise_kernel_size", &Config::conv_depthwise_kernel_size, 1, kMaxFrames,
     "kernel K of the depthwise convolution, odd"},
    {"conformer_conv_dropout", &Config::conformer_conv_dropout, 0, 1,
     "dropout of the convolution module"},
    {"architectures",
     &Config::architectures,
     kNoLimit,
     kNoLimit,
     "the class of the checkpoint",
     {},
     kOmitDefault},
    {"problem_type", &Config::problem_type, kNoLimit, kNoLimit, "not used by the losses", kProblems,
     kOmitDefault},
};

// Keys that mean something to HF's loading or to its config class, and that are not supported here.
// docs/parity.md says what each does there.
void refuse_keys(const ConfigReader& reader, const JsonValue& root, HfVersion hf_version) {
  const auto is_empty = [](const JsonValue& value) {
    const auto* object = value.get_if<JsonValue::Object>();
    return object && object->empty();
  };
  const auto refuse = [&](const char* key, const std::string& expected, auto is_harmless) {
    const JsonValue* value = root.find(key);
    if (!value || is_harmless(*value)) return;
    reader.fail(key, value->describe() + " is not supported", expected);
  };
  const auto null = [](const JsonValue& value) { return value.is_null(); };
  const auto null_or_empty = [&](const JsonValue& value) {
    return value.is_null() || is_empty(value);
  };
  refuse("quantization_config", "null: a checkpoint in float32, float16 or bfloat16", null);
  refuse("transformers_weights", "null: the weights in model.safetensors or its index", null);
  for (const char* key : {"fusion_config", "layer_types", "rope_parameters", "rope_scaling"}) {
    refuse(key, "null", null);
  }
  refuse("per_layer_config", "null or an empty object: HF fails when layers differ", null_or_empty);
  refuse("attribute_map", "no such key: it would rename the others", is_empty);
  for (const char* key :
       {"inputs_to_logits_ratio", "is_heterogeneous", "per_layer_attributes", "use_return_dict"}) {
    refuse(key, "no such key: HF computes it and fails to set it",
           [](const JsonValue&) { return false; });
  }
  // HF: remap_legacy_layer_types, which looks into it since 5.18.
  if (hf_version >= HfVersion::v5_18) refuse("mtp_layer_types", "null", null);
  // HF: PreTrainedConfig.sub_configs, a property without a setter since 5.20.
  if (hf_version >= HfVersion::v5_20) {
    refuse("sub_configs", "no such key: HF computes it and fails to set it",
           [](const JsonValue&) { return false; });
  }
  if (reader.flag_or_null(root, "is_causal", false)) {
    reader.fail("is_causal", "true is not supported", "false or null");
  }
  const JsonValue* return_dict = root.find("return_dict");
  if (return_dict && !return_dict->is_null() && !reader.flag_or_null(root, "return_dict", true)) {
    reader.fail("return_dict", "false is not supported", "true or null: HF's heads fail with it");
  }
}

// HF has a type for these and does nothing with them in this model.
void check_unused_keys(const ConfigReader& reader, const JsonValue& root) {
  if (const JsonValue* value = root.find("chunk_size_feed_forward")) {
    reader.integer(*value, "chunk_size_feed_forward", "an integer");
  }
  if (const JsonValue* value = root.find("is_encoder_decoder"); value && !value->get_if<bool>()) {
    reader.fail("is_encoder_decoder", value->describe(), "true or false");
  }
  if (const JsonValue* value = root.find("transformers_version");
      value && !value->is_null() && !value->get_if<std::string>()) {
    reader.fail("transformers_version", value->describe(), "a string or null");
  }
}

// HF sets the keys one after the other: the second counts where it is there, as null too, which
// leaves the choice to the model.
std::optional<std::string> read_attention(const JsonValue& root, const std::string& path) {
  const char* const second = "_attn_implementation";
  const ConfigReader reader(path, "attn_implementation sdpa");
  return reader.read_word(root, {root.find(second) ? second : "attn_implementation"}, kAttentions);
}

// HF (modeling_utils.py) answers a config that asks for sdpa and for attention weights with an
// error, and one that asks for weights alone with an empty list, as sdpa does not give any.
void check_attentions(const std::string& path, const Config& config, bool attention_given) {
  if (config.output_attentions && attention_given && config.attn_implementation == "sdpa") {
    const ConfigReader reader(path, "attn_implementation eager");
    reader.fail("output_attentions", "true is not supported with attn_implementation = sdpa",
                "attn_implementation = eager");
  }
}

// An integer, a list of integers, or null.
void read_eos_token_id(const ConfigReader& reader, const JsonValue& root, Config& config) {
  constexpr const char* kKey = "eos_token_id";
  constexpr const char* kExpected = "an integer, a list of integers or null";
  const JsonValue* value = root.find(kKey);
  if (!value) return;
  config.eos_token_id.clear();
  if (value->is_null()) return;
  const auto* list = value->get_if<JsonValue::Array>();
  if (!list) return config.eos_token_id.push_back(reader.integer(*value, kKey, kExpected));
  for (const JsonValue& id : *list) {
    config.eos_token_id.push_back(reader.integer(id, kKey, kExpected));
  }
}

std::string list_text(const std::vector<std::int64_t>& list) {
  std::string text = "[";
  for (const std::int64_t number : list) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(number);
  }
  return text + "]";
}

// HF (configuration_utils.py, PreTrainedConfig): num_labels counts id2label; where both are given
// and differ, num_labels wins and the labels get new names. label2id says nothing, and is kept
// beside the id2label that it came with.
void read_labels(const ConfigReader& reader, const JsonValue& root, Config& config) {
  if (const JsonValue* value = root.find("id2label"); value && !value->is_null()) {
    const auto* labels = value->get_if<JsonValue::Object>();
    if (!labels) reader.fail("id2label", value->describe(), "an object of numbers and names");
    for (const auto& [key, label] : *labels) {
      const auto id = parse_number<std::int64_t>(key);
      if (!id) {
        reader.fail("id2label", "the key " + describe(JsonScalar(std::string_view(key))),
                    "an integer");
      }
      const auto* name = label.get_if<std::string>();
      if (!name) reader.fail("id2label", key + ": " + label.describe(), "a string");
      if (!config.id2label.emplace(*id, *name).second) {
        reader.fail("id2label", "the number " + std::to_string(*id) + " stands twice",
                    "each number once");
      }
    }
    config.num_labels = static_cast<std::int64_t>(labels->size());
    if (labels->empty() && !root.find("num_labels")) {
      reader.fail("id2label", "an empty object, which makes num_labels = 0", "one label or more");
    }
  }
  if (const JsonValue* value = root.find("label2id"); value && !value->is_null()) {
    const auto* ids = value->get_if<JsonValue::Object>();
    if (!ids) reader.fail("label2id", value->describe(), "an object of names and numbers");
    auto& label2id = config.label2id.emplace();
    for (const auto& [label, id] : *ids) {
      // transformers' example scripts write the numbers as strings.
      if (const auto* text = id.get_if<std::string>()) {
        label2id.emplace(label, *text);
      } else {
        label2id.emplace(label, reader.integer(id, "label2id", "an object of names and numbers"));
      }
    }
  }
  const JsonValue* count = root.find("num_labels");
  const JsonValue* names = root.find("id2label");
  // HF: null counts as absent beside id2label only.
  if (count && !(count->is_null() && names && !names->is_null())) {
    const std::int64_t labels = reader.integer(*count, "num_labels", "an integer");
    if (labels != config.num_labels) config.id2label.clear();
    config.num_labels = labels;
  }
  if (config.id2label.empty()) config.label2id.reset();
}

std::map<std::int64_t, std::string> default_labels(std::int64_t count) {
  std::map<std::int64_t, std::string> labels;
  for (std::int64_t id = 0; id < count; ++id) labels[id] = "LABEL_" + std::to_string(id);
  return labels;
}

nlohmann::ordered_json label2id_json(const std::map<std::int64_t, std::string>& id2label) {
  std::map<std::string, std::int64_t> ids;
  for (const auto& [id, label] : id2label) ids[label] = id;
  return ids;
}

// HF leaves out each of the two where it is what a new config has.
void add_labels(ConfigMembers& members, const Config& config) {
  const auto usual = default_labels(Config().num_labels);
  const bool named = !config.id2label.empty() &&
                     static_cast<std::int64_t>(config.id2label.size()) == config.num_labels;
  const auto labels = named ? config.id2label : default_labels(config.num_labels);
  if (labels != usual) {
    auto& id2label = members["id2label"] = nlohmann::ordered_json::object();
    for (const auto& [id, label] : labels) id2label[std::to_string(id)] = label;
  }
  nlohmann::ordered_json label2id;
  if (!named) {
    label2id = label2id_json(labels);
  } else if (config.label2id) {
    label2id = nlohmann::ordered_json::object();
    for (const auto& [label, id] : *config.label2id) {
      std::visit([&, &name = label](const auto& value) { label2id[name] = value; }, id);
    }
  }
  if (label2id != label2id_json(usual)) members["label2id"] = label2id;
}

}  // namespace

Config Config::from_json(std::string_view text, const std::string& path, HfVersion hf_version,
                         const std::optional<std::string>& attn_implementation) {
  const JsonValue root = parse_config(text, path);
  const ConfigReader reader(path);
  if (const JsonValue* type = root.find("model_type")) {
    const auto* word = type->get_if<std::string>();
    if (!word || *word != kModelType) {
      reader.fail("model_type", type->describe(), '"' + std::string(kModelType) + '"');
    }
  }
  refuse_keys(reader, root, hf_version);
  check_unused_keys(reader, root);
  Config config;
  config.hf_version = hf_version;
  config.output_hidden_states = reader.flag_or_null(root, "output_hidden_states", false);
  config.output_attentions = reader.flag_or_null(root, "output_attentions", false);
  if (const JsonValue* tie = root.find(kTie); tie && !tie->is_null()) {
    config.tie_last_hidden_states = reader.flag_or_null(root, kTie, false);
  }
  for (const Field& field : kFields) reader.read(root, field, config);
  read_eos_token_id(reader, root, config);
  read_labels(reader, root, config);
  config.dtype = reader.read_word(root, {"torch_dtype", "dtype"}, kDtypes);
  const auto attention = attn_implementation ? attn_implementation : read_attention(root, path);
  if (attention) config.attn_implementation = *attention;
  check_attentions(path, config, attention.has_value());
  if (config.output_hidden_size.value_or(0) == 0) config.output_hidden_size = config.hidden_size;
  config.validate(path);
  return config;
}

Config Config::from_pretrained(const std::string& directory, HfVersion hf_version,
                               const std::optional<std::string>& attn_implementation) {
  const std::string path = join_path(directory, "config.json");
  return from_json(read_config_text(path), path, hf_version, attn_implementation);
}

std::string Config::to_json() const {
  validate();
  ConfigMembers members;
  for (const Field& field : kFields) add_field(members, field, *this);
  members["model_type"] = kModelType;
  members["output_hidden_size"] = adapter_size();
  auto& eos = members["eos_token_id"] = to_config_json(eos_token_id);
  if (eos_token_id.empty()) eos = nullptr;
  if (eos_token_id.size() == 1) eos = eos_token_id.front();
  if (dtype) members["dtype"] = *dtype;
  if (output_hidden_states) members["output_hidden_states"] = true;
  if (output_attentions) members["output_attentions"] = true;
  if (tie_last_hidden_states) members[kTie] = *tie_last_hidden_states;
  add_labels(members, *this);
  return config_text(members);
}

void Config::validate(const std::string& path) const {
  const ConfigReader reader(path);
  for (const Field& field : kFields) reader.check(field, *this);
  reader.check_word("attn_implementation", attn_implementation, kAttentions);
  if (dtype) reader.check_word("dtype", *dtype, kDtypes);
  if (num_labels < 1 || static_cast<double>(num_labels) > kMaxLabels) {
    reader.fail("num_labels", std::to_string(num_labels), range_text(1, kMaxLabels));
  }
  if (problem_type == "single_label_classification" && num_labels == 1) {
    reader.fail("problem_type", "single_label_classification with num_labels = 1",
                "regression, or more labels");
  }
  if (!(layer_norm_eps > 0)) reader.fail("layer_norm_eps", "0", "a number above 0");
  if (hidden_size % num_attention_heads != 0) {
    reader.fail("hidden_size", std::to_string(hidden_size),
                "a multiple of num_attention_heads = " + std::to_string(num_attention_heads));
  }
  if (position_embeddings_type == "rotary" && head_size() % 2 != 0) {
    reader.fail(
        "hidden_size",
        std::to_string(hidden_size) + " gives heads of odd size " + std::to_string(head_size()),
        "an even head size for rotary positions");
  }
  if (position_embeddings_type == "relative" && hidden_size % 2 != 0) {
    reader.fail("hidden_size", std::to_string(hidden_size),
                "an even number for relative positions");
  }
  if (conv_depthwise_kernel_size % 2 == 0) {
    reader.fail("conv_depthwise_kernel_size", std::to_string(conv_depthwise_kernel_size),
                "an odd number");
  }
  if (use_intermediate_ffn_before_adapter && !add_adapter) {
    reader.fail("use_intermediate_ffn_before_adapter", "true without add_adapter",
                "add_adapter to be true as well");
  }
  if (add_adapter && adapter_size() % num_attention_heads != 0) {
    reader.fail("output_hidden_size", std::to_string(*output_hidden_size),
                "a multiple of num_attention_heads = " + std::to_string(num_attention_heads) +
                    " for the adapter");
  }
  const auto check_length = [&](const char* key, const std::vector<std::int64_t>& list) {
    if (list.size() == tdnn_dim.size()) return;
    reader.fail(key, list_text(list), "as many numbers as tdnn_dim = " + list_text(tdnn_dim));
  };
  check_length("tdnn_kernel", tdnn_kernel);
  check_length("tdnn_dilation", tdnn_dilation);
  if (parameter_count() > kMaxParameters) {
    std::string sizes = "hidden_size = " + std::to_string(hidden_size) +
                        ", intermediate_size = " + std::to_string(intermediate_size) +
                        ", num_hidden_layers = " + std::to_string(num_hidden_layers);
    if (add_adapter) {
      sizes += ", output_hidden_size = " + std::to_string(adapter_size()) +
               ", num_adapter_layers = " + std::to_string(num_adapter_layers) +
               ", adapter_kernel_size = " + std::to_string(adapter_kernel_size);
    }
    reader.fail("", sizes + ": a model of " + number_text(parameter_count()) + " parameters",
                "at most " + number_text(kMaxParameters));
  }
}

std::int64_t Config::head_size() const {
  if (num_attention_heads < 1) {
    throw ConfigError("config", "num_attention_heads", std::to_string(num_attention_heads),
                      "1 or more");
  }
  return hidden_size / num_attention_heads;
}

double Config::parameter_count() const {
  const auto real = [](std::int64_t value) { return static_cast<double>(value); };
  const auto linear = [](double in, double out) { return in * out + out; };
  const auto norm = [](double width) { return 2 * width; };
  const double input = real(feature_projection_input_dim), width = real(hidden_size);
  const double inner = real(intermediate_size);
  const auto ffn = [&](double outer) { return linear(outer, inner) + linear(inner, outer); };

  double count = norm(input) + linear(input, width);
  if (mask_time_prob > 0 || mask_feature_prob > 0) count += width;  // masked_spec_embed
  double positions = 0;
  if (position_embeddings_type == "relative_key") {
    positions = (real(left_max_position_embeddings) + real(right_max_position_embeddings) + 1) *
                real(head_size());
  } else if (position_embeddings_type == "relative") {
    positions = width * width + 2 * width;
  }
  const double attention = 4 * linear(width, width) + positions;
  const double convolution =
      3 * width * width + width * real(conv_depthwise_kernel_size) + 2 * norm(width);
  count += real(num_hidden_layers) * (2 * ffn(width) + attention + convolution + 4 * norm(width));
  if (!add_adapter) return count;

  const double output = real(adapter_size());
  const double kernel = real(adapter_kernel_size);
  if (output != width) count += linear(width, output) + norm(output);
  count += real(num_adapter_layers) * (3 * norm(output) + 2 * linear(output * kernel, 2 * output) +
                                       4 * linear(output, output) + ffn(output));
  return count + (use_intermediate_ffn_before_adapter ? ffn(width) : 0);
}

}  // namespace w2vbert
