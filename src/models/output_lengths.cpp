#include "w2vbert/models/output_lengths.h"

namespace w2vbert {

torch::Tensor get_feat_extract_output_lengths(const Wav2Vec2BertConfig& config,
                                              const torch::Tensor& input_lengths,
                                              std::optional<bool> add_adapter) {
  if (!add_adapter.value_or(config.add_adapter)) return input_lengths;
  const auto padding = config.adapter_kernel_size / 2;
  auto lengths = input_lengths;
  for (std::int64_t i = 0; i < config.num_adapter_layers; ++i) {
    lengths = torch::div(lengths + 2 * padding - config.adapter_kernel_size, config.adapter_stride,
                         "floor") +
              1;
  }
  return lengths;
}

torch::Tensor get_feature_vector_attention_mask(const Wav2Vec2BertConfig& config,
                                                std::int64_t feature_vector_length,
                                                const torch::Tensor& attention_mask,
                                                std::optional<bool> add_adapter) {
  const auto non_padded_lengths = attention_mask.cumsum(-1).select(1, -1);
  const auto output_lengths =
      get_feat_extract_output_lengths(config, non_padded_lengths, add_adapter).to(torch::kLong);
  auto mask =
      torch::zeros({attention_mask.size(0), feature_vector_length}, attention_mask.options());
  const auto rows =
      torch::arange(mask.size(0), torch::TensorOptions().dtype(torch::kLong).device(mask.device()));
  mask.index_put_({rows, output_lengths - 1}, torch::ones({}, mask.options()));
  return mask.flip({-1}).cumsum(-1).flip({-1}).to(torch::kBool);
}

torch::Tensor get_tdnn_output_lengths(const Wav2Vec2BertConfig& config,
                                      torch::Tensor input_lengths) {
  for (const auto kernel_size : config.tdnn_kernel) input_lengths = input_lengths - kernel_size + 1;
  return input_lengths;
}

}  // namespace w2vbert
