#include "w2vbert/config/wav2vec2_bert_config.h"

#include <algorithm>
#include <array>

#include "config_table.h"

namespace w2vbert {
namespace {

using Config = Wav2Vec2BertConfig;
using Field = ConfigField<Config>;

constexpr double kMaxWidth = 1 << 20;    // of a layer, far above any real one
constexpr double kMaxLayers = 1 << 12;
constexpr double kMaxFrames = 1 << 24;   // 93 hours of 20 ms frames
constexpr double kMaxTokens = 1 << 24;
constexpr double kNoLimit = 0;           // words and flags

const Field kFields[] = {
    {"vocab_size", &Config::vocab_size, 1, kMaxTokens, "outputs of the CTC head"},
    {"hidden_size", &Config::hidden_size, 1, kMaxWidth, "width C of the encoder"},
    {"num_hidden_layers", &Config::num_hidden_layers, 1, kMaxLayers, "encoder layers"},
    {"num_attention_heads", &Config::num_attention_heads, 1, kMaxWidth, "attention heads H"},
    {"intermediate_size", &Config::intermediate_size, 1, kMaxWidth, "inner width of the FFNs"},
    {"feature_projection_input_dim", &Config::feature_projection_input_dim, 1, kMaxWidth,
     "width of input_features: num_mel_bins * stride"},
    {"hidden_act", &Config::hidden_act, kNoLimit, kNoLimit, "activation of FFNs and convolution"},
    {"hidden_dropout", &Config::hidden_dropout, 0, 1, "dropout before the layers and in the FFNs"},
    {"activation_dropout", &Config::activation_dropout, 0, 1, "dropout inside the FFNs"},
    {"attention_dropout", &Config::attention_dropout, 0, 1, "dropout of attention weights and output"},
    {"feat_proj_dropout", &Config::feat_proj_dropout, 0, 1, "dropout after the feature projection"},
    {"final_dropout", &Config::final_dropout, 0, 1, "dropout before the CTC head"},
    {"layerdrop", &Config::layerdrop, 0, 1, "probability of skipping a layer in training"},
    {"initializer_range", &Config::initializer_range, 0, 1e3, "standard deviation of new weights"},
    {"layer_norm_eps", &Config::layer_norm_eps, 0, 1, "epsilon of every LayerNorm"},
    {"apply_spec_augment", &Config::apply_spec_augment, kNoLimit, kNoLimit, "SpecAugment on or off"},
    {"mask_time_prob", &Config::mask_time_prob, 0, 1, "SpecAugment: share of frames"},
    {"mask_time_length", &Config::mask_time_length, 1, kMaxFrames, "SpecAugment: frames a span"},
    {"mask_time_min_masks", &Config::mask_time_min_masks, 0, kMaxFrames, "SpecAugment: least spans"},
    {"mask_feature_prob", &Config::mask_feature_prob, 0, 1, "SpecAugment: share of channels"},
    {"mask_feature_length", &Config::mask_feature_length, 1, kMaxWidth, "SpecAugment: channels a span"},
    {"mask_feature_min_masks", &Config::mask_feature_min_masks, 0, kMaxWidth, "SpecAugment: least spans"},
    {"ctc_loss_reduction", &Config::ctc_loss_reduction, kNoLimit, kNoLimit, "sum or mean"},
    {"ctc_zero_infinity", &Config::ctc_zero_infinity, kNoLimit, kNoLimit, "infinite CTC losses become 0"},
    {"use_weighted_layer_sum", &Config::use_weighted_layer_sum, kNoLimit, kNoLimit,
     "heads see a learnt mean of all states"},
    {"classifier_proj_size", &Config::classifier_proj_size, 1, kMaxWidth, "width before the classifier"},
    {"tdnn_dim", &Config::tdnn_dim, 1, kMaxWidth, "x-vector head: widths"},
    {"tdnn_kernel", &Config::tdnn_kernel, 1, kMaxFrames, "x-vector head: kernels"},
    {"tdnn_dilation", &Config::tdnn_dilation, 1, kMaxFrames, "x-vector head: dilations"},
    {"xvector_output_dim", &Config::xvector_output_dim, 1, kMaxWidth, "x-vector head: embedding width"},
    {"pad_token_id", &Config::pad_token_id, -1, kMaxTokens, "the CTC blank"},
    {"bos_token_id", &Config::bos_token_id, -1, kMaxTokens, "not used by the model"},
    {"add_adapter", &Config::add_adapter, kNoLimit, kNoLimit, "convolutional adapter after the encoder"},
    {"adapter_kernel_size", &Config::adapter_kernel_size, 1, kMaxFrames, "adapter convolution kernel"},
    {"adapter_stride", &Config::adapter_stride, 1, kMaxFrames, "adapter convolution stride"},
    {"num_adapter_layers", &Config::num_adapter_layers, 0, kMaxLayers, "adapter layers"},
    {"adapter_act", &Config::adapter_act, kNoLimit, kNoLimit, "activation of the adapter's FFN"},
    {"use_intermediate_ffn_before_adapter", &Config::use_intermediate_ffn_before_adapter, kNoLimit,
     kNoLimit, "one more FFN between encoder and adapter"},
    {"output_hidden_size", &Config::output_hidden_size, 0, kMaxWidth, "adapter width; null: hidden_size"},
    {"position_embeddings_type", &Config::position_embeddings_type, kNoLimit, kNoLimit,
     "relative_key, relative, rotary or null"},
    {"rotary_embedding_base", &Config::rotary_embedding_base, 1, 1e15, "rotary: base of the frequencies"},
    {"max_source_positions", &Config::max_source_positions, 1, kMaxFrames, "relative: first table size"},
    {"left_max_position_embeddings", &Config::left_max_position_embeddings, 0, kMaxFrames,
     "relative_key: distances to the left are clipped here"},
    {"right_max_position_embeddings", &Config::right_max_position_embeddings, 0, kMaxFrames,
     "relative_key: distances to the right are clipped here"},
    {"conv_depthwise_kernel_size", &Config::conv_depthwise_kernel_size, 1, kMaxFrames,
     "kernel K of the depthwise convolution, odd"},
    {"conformer_conv_dropout", &Config::conformer_conv_dropout, 0, 1, "dropout of the convolution module"},
    {"architectures", &Config::architectures, kNoLimit, kNoLimit, "the class of the checkpoint"},
};

void expect_word(const ConfigReader& reader, const std::string& key, const std::string& word,
                 std::initializer_list<const char*> words) {
  if (std::find(words.begin(), words.end(), word) != words.end()) return;
  std::string expected = "one of";
  for (const char* candidate : words) expected += std::string(" ") + candidate;
  reader.fail(key, '"' + word + '"', expected);
}

// HF reads `dtype` and the older `torch_dtype`; `dtype` wins.
void read_dtype(const ConfigReader& reader, const JsonValue& root, Config& config) {
  for (const char* key : {"torch_dtype", "dtype"}) {
    const JsonValue* value = root.find(key);
    if (!value || value->is_null()) continue;
    const auto* word = value->get_if<std::string>();
    if (!word) reader.fail(key, value->describe(), "a string");
    expect_word(reader, key, *word, {"float32", "float16", "bfloat16", "float64"});
    config.dtype = *word;
  }
}

void read_attn_implementation(const ConfigReader& reader, const JsonValue& root, Config& config) {
  for (const char* key : {"attn_implementation", "_attn_implementation"}) {
    const JsonValue* value = root.find(key);
    if (!value || value->is_null()) continue;
    const auto* word = value->get_if<std::string>();
    if (!word) reader.fail(key, value->describe(), "a string");
    expect_word(reader, key, *word, {"eager", "sdpa"});
    config.attn_implementation = *word;
  }
}

}  // namespace

Config Config::from_json(std::string_view text, const std::string& path) {
  const JsonValue root = parse_config(text, path);
  const ConfigReader reader(path);
  if (const JsonValue* type = root.find("model_type")) {
    const auto* word = type->get_if<std::string>();
    if (!word || *word != "wav2vec2-bert") {
      reader.fail("model_type", type->describe(), "\"wav2vec2-bert\"");
    }
  }
  if (const JsonValue* quantization = root.find("quantization_config");
      quantization && !quantization->is_null()) {
    reader.fail("quantization_config", "quantised checkpoints are not supported",
                "a checkpoint without it");
  }
  if (const JsonValue* causal = root.find("is_causal")) {
    const auto* flag = causal->get_if<bool>();
    if (!flag) reader.fail("is_causal", causal->describe(), "true or false");
    if (*flag) reader.fail("is_causal", "true is not supported", "false");
  }
  Config config;
  for (const Field& field : kFields) reader.read(root, field, config);
  read_dtype(reader, root, config);
  read_attn_implementation(reader, root, config);
  if (config.output_hidden_size.value_or(0) == 0) config.output_hidden_size = config.hidden_size;
  config.validate(path);
  return config;
}

Config Config::from_pretrained(const std::string& directory) {
  const std::string path = join_path(directory, "config.json");
  return from_json(read_config_text(path), path);
}

void Config::validate(const std::string& path) const {
  const ConfigReader reader(path);
  for (const Field& field : kFields) reader.check_range(field, *this);
  expect_word(reader, "attn_implementation", attn_implementation, {"eager", "sdpa"});
  expect_word(reader, "position_embeddings_type", position_embeddings_type.value_or("null"),
              {"relative_key", "relative", "rotary", "null"});
  expect_word(reader, "ctc_loss_reduction", ctc_loss_reduction, {"sum", "mean", "none"});
  if (!(layer_norm_eps > 0)) reader.fail("layer_norm_eps", "0", "a number above 0");
  if (hidden_size % num_attention_heads != 0) {
    reader.fail("hidden_size", std::to_string(hidden_size),
                "a multiple of num_attention_heads = " + std::to_string(num_attention_heads));
  }
  if (position_embeddings_type == "rotary" && head_size() % 2 != 0) {
    reader.fail("hidden_size",
                std::to_string(hidden_size) + " gives heads of odd size " + std::to_string(head_size()),
                "an even head size for rotary positions");
  }
  if (conv_depthwise_kernel_size % 2 == 0) {
    reader.fail("conv_depthwise_kernel_size", std::to_string(conv_depthwise_kernel_size),
                "an odd number");
  }
  if (use_intermediate_ffn_before_adapter && !add_adapter) {
    reader.fail("use_intermediate_ffn_before_adapter", "true without add_adapter",
                "add_adapter to be true as well");
  }
  if (tdnn_kernel.size() != tdnn_dim.size() || tdnn_dilation.size() != tdnn_dim.size()) {
    reader.fail("tdnn_kernel", "tdnn_dim, tdnn_kernel and tdnn_dilation have different lengths",
                "one length");
  }
}

}  // namespace w2vbert
