// Prints how this library reads a model directory's configs, and what it saves of them, as JSON,
// for compare_with_transformers.py.
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const w2vbert::Wav2Vec2BertConfig& config) {
  Json labels = Json::object();
  for (std::int64_t i = 0; config.id2label.empty() && i < config.num_labels; ++i) {
    labels[std::to_string(i)] = "LABEL_" + std::to_string(i);
  }
  for (const auto& [id, label] : config.id2label) labels[std::to_string(id)] = label;
  Json eos = config.eos_token_id;
  if (config.eos_token_id.empty()) eos = nullptr;
  if (config.eos_token_id.size() == 1) eos = config.eos_token_id[0];
  return {
      {"vocab_size", or_null(config.vocab_size)},
      {"hidden_size", config.hidden_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"intermediate_size", config.intermediate_size},
      {"feature_projection_input_dim", config.feature_projection_input_dim},
      {"hidden_act", config.hidden_act},
      {"hidden_dropout", config.hidden_dropout},
      {"activation_dropout", config.activation_dropout},
      {"attention_dropout", config.attention_dropout},
      {"feat_proj_dropout", config.feat_proj_dropout},
      {"final_dropout", config.final_dropout},
      {"layerdrop", config.layerdrop},
      {"initializer_range", config.initializer_range},
      {"layer_norm_eps", config.layer_norm_eps},
      {"apply_spec_augment", config.apply_spec_augment},
      {"mask_time_prob", config.mask_time_prob},
      {"mask_time_length", config.mask_time_length},
      {"mask_time_min_masks", config.mask_time_min_masks},
      {"mask_feature_prob", config.mask_feature_prob},
      {"mask_feature_length", config.mask_feature_length},
      {"mask_feature_min_masks", config.mask_feature_min_masks},
      {"ctc_loss_reduction", config.ctc_loss_reduction},
      {"ctc_zero_infinity", config.ctc_zero_infinity},
      {"use_weighted_layer_sum", config.use_weighted_layer_sum},
      {"classifier_proj_size", config.classifier_proj_size},
      {"tdnn_dim", config.tdnn_dim},
      {"tdnn_kernel", config.tdnn_kernel},
      {"tdnn_dilation", config.tdnn_dilation},
      {"xvector_output_dim", config.xvector_output_dim},
      {"pad_token_id", or_null(config.pad_token_id)},
      {"bos_token_id", or_null(config.bos_token_id)},
      {"eos_token_id", eos},
      {"add_adapter", config.add_adapter},
      {"adapter_kernel_size", config.adapter_kernel_size},
      {"adapter_stride", config.adapter_stride},
      {"num_adapter_layers", config.num_adapter_layers},
      {"adapter_act", config.adapter_act},
      {"use_intermediate_ffn_before_adapter", config.use_intermediate_ffn_before_adapter},
      {"output_hidden_size", or_null(config.output_hidden_size)},
      {"position_embeddings_type", or_null(config.position_embeddings_type)},
      {"rotary_embedding_base", config.rotary_embedding_base},
      {"max_source_positions", config.max_source_positions},
      {"left_max_position_embeddings", config.left_max_position_embeddings},
      {"right_max_position_embeddings", config.right_max_position_embeddings},
      {"conv_depthwise_kernel_size", config.conv_depthwise_kernel_size},
      {"conformer_conv_dropout", config.conformer_conv_dropout},
      {"architectures", config.architectures.empty() ? Json(nullptr) : Json(config.architectures)},
      {"dtype", or_null(config.dtype)},
      {"attn_implementation", config.attn_implementation},
      {"output_hidden_states", config.output_hidden_states},
      {"output_attentions", config.output_attentions},
      {"tie_last_hidden_states", or_null(config.tie_last_hidden_states)},
      {"problem_type", or_null(config.problem_type)},
      {"id2label", labels},
      {"num_labels", config.num_labels},
      {"parameter_count", config.parameter_count()},
  };
}

Json to_json(const w2vbert::SeamlessM4TFeatureExtractorConfig& config) {
  return {
      {"feature_size", config.feature_size},
      {"sampling_rate", config.sampling_rate},
      {"num_mel_bins", config.num_mel_bins},
      {"padding_value", config.padding_value},
      {"stride", config.stride},
      {"padding_side", config.padding_side},
      {"return_attention_mask", config.return_attention_mask},
  };
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    Json line;
    try {
      const std::string directory = arguments[i];
      const auto model = w2vbert::Wav2Vec2BertConfig::from_pretrained(directory);
      const auto features = w2vbert::SeamlessM4TFeatureExtractorConfig::from_pretrained(directory);
      line["model"] = to_json(model);
      line["features"] = to_json(features);
      line["saved_model"] = model.to_json();
      line["saved_features"] = features.to_json();
    } catch (const std::exception& error) {
      line["error"] = error.what();
    }
    std::cout << line.dump() << '\n';
  }
}
