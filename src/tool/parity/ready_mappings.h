// HF's names -> those of engines that people compare with it (docs/parity.md).
#pragma once

#include <array>
#include <string_view>

namespace w2vbert::tool {

struct ReadyMapping {
  std::string_view name;
  std::string_view text;  // as in a file for --names
};

// CTranslate2: the variables of its Wav2Vec2BertSpec (python/ctranslate2/specs/
// wav2vec2bert_spec.py of OpenNMT/CTranslate2). Its feed-forward modules begin with their norm.
inline constexpr std::string_view kCTranslate2 = R"({
  "feature_projection.layer_norm": "encoder/fp_layer_norm",
  "feature_projection.projection": "encoder/fp_projection",
  "encoder.layers.{i}.ffn1_layer_norm": ["encoder/encoder_layers_{i}/enc_ffn1/layer_norm",
                                         "encoder/encoder_layers_{i}/enc_ffn1_layer_norm"],
  "encoder.layers.{i}.ffn1.intermediate_dense": "encoder/encoder_layers_{i}/enc_ffn1/linear_0",
  "encoder.layers.{i}.ffn1.output_dense": "encoder/encoder_layers_{i}/enc_ffn1/linear_1",
  "encoder.layers.{i}.ffn1": "encoder/encoder_layers_{i}/enc_ffn1",
  "encoder.layers.{i}.self_attn_layer_norm": ["encoder/encoder_layers_{i}/enc_attn/layer_norm",
                                              "encoder/encoder_layers_{i}/enc_attn_layer_norm"],
  "encoder.layers.{i}.self_attn.linear_out": "encoder/encoder_layers_{i}/enc_attn/linear_1",
  "encoder.layers.{i}.self_attn": "encoder/encoder_layers_{i}/enc_attn",
  "encoder.layers.{i}.conv_module.layer_norm": "encoder/encoder_layers_{i}/enc_conv_layer_norm",
  "encoder.layers.{i}.conv_module.pointwise_conv1":
      "encoder/encoder_layers_{i}/enc_conv_pointwise_conv1",
  "encoder.layers.{i}.conv_module.depthwise_conv":
      "encoder/encoder_layers_{i}/enc_conv_depthwise_conv",
  "encoder.layers.{i}.conv_module.depthwise_layer_norm":
      "encoder/encoder_layers_{i}/enc_conv_depthwise_layer_norm",
  "encoder.layers.{i}.conv_module.pointwise_conv2":
      "encoder/encoder_layers_{i}/enc_conv_pointwise_conv2",
  "encoder.layers.{i}.ffn2_layer_norm": ["encoder/encoder_layers_{i}/enc_ffn2/layer_norm",
                                         "encoder/encoder_layers_{i}/enc_ffn2_layer_norm"],
  "encoder.layers.{i}.ffn2.intermediate_dense": "encoder/encoder_layers_{i}/enc_ffn2/linear_0",
  "encoder.layers.{i}.ffn2.output_dense": "encoder/encoder_layers_{i}/enc_ffn2/linear_1",
  "encoder.layers.{i}.ffn2": "encoder/encoder_layers_{i}/enc_ffn2",
  "encoder.layers.{i}.final_layer_norm": "encoder/encoder_layers_{i}/enc_final_layer_norm",
  "encoder.layers.{i}": "encoder/encoder_layers_{i}",
  "adapter.layers.{i}.residual_layer_norm": "encoder/adapter_layers_{i}/adpt_residual_layer_norm",
  "adapter.layers.{i}.residual_conv": "encoder/adapter_layers_{i}/adpt_residual_conv",
  "adapter.layers.{i}.self_attn_layer_norm": "encoder/adapter_layers_{i}/adpt_attn_layer_norm",
  "adapter.layers.{i}.self_attn_conv": "encoder/adapter_layers_{i}/adpt_attn_conv",
  "adapter.layers.{i}.self_attn": "encoder/adapter_layers_{i}/adpt_attn_layer",
  "adapter.layers.{i}.ffn_layer_norm": "encoder/adapter_layers_{i}/adpt_ffn_layer_norm",
  "adapter.layers.{i}.ffn.intermediate_dense": "encoder/adapter_layers_{i}/adpt_ffn/linear_0",
  "adapter.layers.{i}.ffn.output_dense": "encoder/adapter_layers_{i}/adpt_ffn/linear_1",
  "adapter.layers.{i}.ffn": "encoder/adapter_layers_{i}/adpt_ffn",
  "adapter.layers.{i}": "encoder/adapter_layers_{i}",
  "lm_head": "encoder/lm_head",
  "logits": "encoder/lm_head"
}
)";

// fairseq2: the modules of its w2v-BERT 2.0 encoder, as transformers' conversion of the Seamless
// checkpoints names them (models/wav2vec2_bert/convert_wav2vec2_seamless_checkpoint.py).
inline constexpr std::string_view kFairseq2 = R"({
  "feature_projection.layer_norm": "encoder_frontend.post_extract_layer_norm",
  "feature_projection.projection": "encoder_frontend.model_dim_proj",
  "encoder.layers.{i}.ffn1.intermediate_dense": ["encoder.inner.layers.{i}.ffn1.inner_proj",
                                                 "encoder.layers.{i}.ffn1.inner_proj"],
  "encoder.layers.{i}.ffn1.output_dense": ["encoder.inner.layers.{i}.ffn1.output_proj",
                                           "encoder.layers.{i}.ffn1.output_proj"],
  "encoder.layers.{i}.self_attn.linear_q": ["encoder.inner.layers.{i}.self_attn.q_proj",
                                            "encoder.layers.{i}.self_attn.q_proj"],
  "encoder.layers.{i}.self_attn.linear_k": ["encoder.inner.layers.{i}.self_attn.k_proj",
                                            "encoder.layers.{i}.self_attn.k_proj"],
  "encoder.layers.{i}.self_attn.linear_v": ["encoder.inner.layers.{i}.self_attn.v_proj",
                                            "encoder.layers.{i}.self_attn.v_proj"],
  "encoder.layers.{i}.self_attn.linear_out": ["encoder.inner.layers.{i}.self_attn.output_proj",
                                              "encoder.layers.{i}.self_attn.output_proj"],
  "encoder.layers.{i}.self_attn.distance_embedding":
      ["encoder.inner.layers.{i}.self_attn.sdpa.rel_k_embed",
       "encoder.layers.{i}.self_attn.sdpa.rel_k_embed"],
  "encoder.layers.{i}.conv_module.layer_norm": ["encoder.inner.layers.{i}.conv_layer_norm",
                                                "encoder.layers.{i}.conv_layer_norm"],
  "encoder.layers.{i}.conv_module.pointwise_conv1": ["encoder.inner.layers.{i}.conv.pointwise_conv1",
                                                     "encoder.layers.{i}.conv.pointwise_conv1"],
  "encoder.layers.{i}.conv_module.glu": ["encoder.inner.layers.{i}.conv.pointwise_conv1_activation",
                                         "encoder.layers.{i}.conv.pointwise_conv1_activation"],
  "encoder.layers.{i}.conv_module.depthwise_conv": ["encoder.inner.layers.{i}.conv.depthwise_conv",
                                                    "encoder.layers.{i}.conv.depthwise_conv"],
  "encoder.layers.{i}.conv_module.depthwise_layer_norm": ["encoder.inner.layers.{i}.conv.layer_norm",
                                                          "encoder.layers.{i}.conv.layer_norm"],
  "encoder.layers.{i}.conv_module.activation":
      ["encoder.inner.layers.{i}.conv.depthwise_activation",
       "encoder.layers.{i}.conv.depthwise_activation"],
  "encoder.layers.{i}.conv_module.pointwise_conv2": ["encoder.inner.layers.{i}.conv.pointwise_conv2",
                                                     "encoder.layers.{i}.conv.pointwise_conv2"],
  "encoder.layers.{i}.conv_module": ["encoder.inner.layers.{i}.conv", "encoder.layers.{i}.conv"],
  "encoder.layers.{i}.final_layer_norm": ["encoder.inner.layers.{i}.layer_norm",
                                          "encoder.layers.{i}.layer_norm"],
  "encoder.layers.{i}": ["encoder.inner.layers.{i}"],
  "encoder.layers.{i}.{name}": ["encoder.inner.layers.{i}.{name}"]
}
)";

// MLX ports keep HF's names, or join the first two (encoder_layers), and number the states.
inline constexpr std::string_view kMlx = R"({
  "encoder.layers.{i}": ["encoder_layers.{i}", "layers.{i}"],
  "encoder.layers.{i}.{name}": ["encoder_layers.{i}.{name}", "layers.{i}.{name}"],
  "hidden_states.{i}": ["hidden_states_{i}", "hidden_state_{i}"],
  "last_hidden_state": ["output", "encoder.output"]
}
)";

inline constexpr std::array<ReadyMapping, 3> kReadyMappings = {
    {{"ctranslate2", kCTranslate2}, {"fairseq2", kFairseq2}, {"mlx", kMlx}}};

}  // namespace w2vbert::tool
