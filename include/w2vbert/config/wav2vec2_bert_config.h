// config.json of a Wav2Vec2-BERT model. Torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "w2vbert/config/hf_version.h"

namespace w2vbert {

/// Every field of HF's Wav2Vec2BertConfig under HF's name and with HF's default
/// (transformers/models/wav2vec2_bert/configuration_wav2vec2_bert.py), with what it means and the
/// values that validate() takes, both ends included.
struct Wav2Vec2BertConfig {
  std::optional<std::int64_t> vocab_size;  ///< outputs of the CTC head; 1 to 2^24
  std::int64_t hidden_size = 1024;         ///< width C of the encoder; 1 to 2^20
  std::int64_t num_hidden_layers = 24;     ///< encoder layers; 1 to 2^12
  std::int64_t num_attention_heads =
      16;  ///< attention heads H, which divide hidden_size; 1 to 2^20
  std::int64_t intermediate_size = 4096;  ///< inner width of the FFNs; 1 to 2^20
  /// Width of input_features: num_mel_bins * stride; 1 to 2^20.
  std::int64_t feature_projection_input_dim = 160;
  /// Activation of FFNs and convolution; a name of ACT2FN (docs/parity.md).
  std::string hidden_act = "swish";
  double hidden_dropout = 0.0;              ///< dropout before the layers and in the FFNs; 0 to 1
  double activation_dropout = 0.0;          ///< dropout inside the FFNs; 0 to 1
  double attention_dropout = 0.0;           ///< dropout of attention weights and output; 0 to 1
  double feat_proj_dropout = 0.0;           ///< dropout after the feature projection; 0 to 1
  double final_dropout = 0.1;               ///< dropout before the CTC head; 0 to 1
  double layerdrop = 0.1;                   ///< probability of skipping a layer in training; 0 to 1
  double initializer_range = 0.02;          ///< standard deviation of new weights; 0 to 1e3
  double layer_norm_eps = 1e-5;             ///< epsilon of every LayerNorm; above 0, to 1
  bool apply_spec_augment = true;           ///< SpecAugment on or off
  double mask_time_prob = 0.05;             ///< SpecAugment: share of frames; 0 to 1
  std::int64_t mask_time_length = 10;       ///< SpecAugment: frames a span; 1 to 2^24
  std::int64_t mask_time_min_masks = 2;     ///< SpecAugment: least spans; 0 to 2^24
  double mask_feature_prob = 0.0;           ///< SpecAugment: share of channels; 0 to 1
  std::int64_t mask_feature_length = 10;    ///< SpecAugment: channels a span; 1 to 2^20
  std::int64_t mask_feature_min_masks = 0;  ///< SpecAugment: least spans; 0 to 2^20
  /// How the CTC losses of a batch become one; "sum", "mean" or "none".
  std::string ctc_loss_reduction = "sum";
  bool ctc_zero_infinity = false;           ///< infinite CTC losses become 0
  bool use_weighted_layer_sum = false;      ///< heads see a learnt mean of all states
  std::int64_t classifier_proj_size = 768;  ///< width before the classifier; 1 to 2^20
  /// X-vector head: widths, each 1 to 2^20.
  std::vector<std::int64_t> tdnn_dim = {512, 512, 512, 512, 1500};
  std::vector<std::int64_t> tdnn_kernel = {5, 3, 3, 1,
                                           1};  ///< x-vector head: kernels; each 1 to 2^24
  /// X-vector head: dilations, each 1 to 2^24.
  std::vector<std::int64_t> tdnn_dilation = {1, 2, 3, 1, 1};
  std::int64_t xvector_output_dim = 512;         ///< x-vector head: embedding width; 1 to 2^20
  std::optional<std::int64_t> pad_token_id = 0;  ///< the CTC blank; -1 to 2^24
  std::optional<std::int64_t> bos_token_id = 1;  ///< not used by the model; -1 to 2^24
  std::vector<std::int64_t> eos_token_id = {2};  ///< HF: an integer, a list, or null (here empty)
  bool add_adapter = false;                      ///< convolutional adapter after the encoder
  std::int64_t adapter_kernel_size = 3;          ///< adapter convolution kernel; 1 to 2^24
  std::int64_t adapter_stride = 2;               ///< adapter convolution stride; 1 to 2^24
  std::int64_t num_adapter_layers = 1;           ///< adapter layers; 0 to 2^12
  /// Activation of the adapter's FFN; a name of ACT2FN (docs/parity.md).
  std::string adapter_act = "relu";
  bool use_intermediate_ffn_before_adapter = false;  ///< one more FFN between encoder and adapter
  std::optional<std::int64_t> output_hidden_size;  ///< adapter width; null: hidden_size; 0 to 2^20
  /// How attention sees distances; "relative_key", "relative", "rotary" or null.
  std::optional<std::string> position_embeddings_type = "relative_key";
  std::int64_t rotary_embedding_base = 10000;  ///< "rotary": base of the frequencies; 1 to 1e15
  std::int64_t max_source_positions = 5000;    ///< "relative": first table size; 1 to 2^24
  /// "relative_key": distances to the left are clipped here; 0 to 2^24.
  std::int64_t left_max_position_embeddings = 64;
  /// "relative_key": distances to the right are clipped here; 0 to 2^24.
  std::int64_t right_max_position_embeddings = 8;
  /// Kernel K of the depthwise convolution, odd; 1 to 2^24.
  std::int64_t conv_depthwise_kernel_size = 31;
  double conformer_conv_dropout = 0.1;  ///< dropout of the convolution module; 0 to 1

  /// Inherited from HF's PreTrainedConfig, as far as it matters here.
  std::vector<std::string> architectures;    ///< the class of the checkpoint
  std::optional<std::string> dtype;          ///< HF `dtype`, or the older `torch_dtype`
  std::string attn_implementation = "sdpa";  ///< HF `_attn_implementation`: "eager" or "sdpa"
  bool output_hidden_states = false;         ///< where a call does not say otherwise
  bool output_attentions = false;            ///< the same
  /// Whether the last of the hidden states is last_hidden_state, which is another where there is an
  /// adapter; absent: false. HF: no field, but looked at where a file has it, since 5.18.
  std::optional<bool> tie_last_hidden_states;
  /// Not used by the losses; "regression", "single_label_classification",
  /// "multi_label_classification" or null.
  std::optional<std::string> problem_type;
  std::int64_t num_labels = 2;  ///< outputs of the classifying heads; 1 to 2^24
  /// Empty: LABEL_0, LABEL_1, ..., as HF names the labels when the file names no labels, or
  /// another number of them than num_labels.
  std::map<std::int64_t, std::string> id2label;
  /// Beside an id2label, whose inverse it is in HF; kept for to_json() and used nowhere. Absent:
  /// null, as HF has it then.
  std::optional<std::map<std::string, std::variant<std::int64_t, std::string>>> label2id;

  /// Whose behaviour the model of this config has where releases of transformers differ. Not
  /// written to a config.json.
  HfVersion hf_version = kNewestHfVersion;

  /// Reads the text of a config.json as `hf_version` does. Unknown keys are ignored. Throws
  /// ConfigError naming `path`, the key, what is there and what was expected; calls validate().
  /// `attn_implementation` is HF's keyword of that name: it counts in the place of the text's,
  /// which is not looked at then.
  static Wav2Vec2BertConfig from_json(
      std::string_view text, const std::string& path, HfVersion hf_version = kNewestHfVersion,
      const std::optional<std::string>& attn_implementation = std::nullopt);

  /// Reads `<directory>/config.json`, as from_json().
  static Wav2Vec2BertConfig from_pretrained(
      const std::string& directory, HfVersion hf_version = kNewestHfVersion,
      const std::optional<std::string>& attn_implementation = std::nullopt);

  /// The text of a config.json as HF's save_pretrained writes it (PreTrainedConfig.to_json_string),
  /// but for transformers_version, which is left out; keys that from_json() ignored are not there.
  /// Two things that mean the same are written in one way: 0 as 0.0 where a key holds any number,
  /// an eos_token_id of one entry as that entry. attn_implementation is not written, as in HF, nor
  /// is hf_version.
  /// Throws ConfigError.
  std::string to_json() const;

  /// Ranges and agreement of the fields with one another. Throws ConfigError naming `path`.
  void validate(const std::string& path = "config") const;

  /// hidden_size / num_attention_heads. Throws ConfigError when num_attention_heads is below 1.
  std::int64_t head_size() const;
  /// Width E of the adapter. HF: output_hidden_size, where null and 0 mean hidden_size.
  std::int64_t adapter_size() const {
    return output_hidden_size.value_or(0) == 0 ? hidden_size : *output_hidden_size;
  }

  /// tie_last_hidden_states, where hf_version heeds it. HF: capture_outputs.
  bool ties_last_hidden_state() const {
    return hf_version >= HfVersion::v5_18 && tie_last_hidden_states.value_or(false);
  }

  /// Parameters of a Wav2Vec2BertModel of this config, without those of an activation (prelu).
  /// Throws as head_size().
  double parameter_count() const;
};

}  // namespace w2vbert
