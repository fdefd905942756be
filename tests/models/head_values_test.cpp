// What a model and its heads make of the encoder's states, by HF's formulas.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <vector>

#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"

namespace w2vbert::testing {
namespace {

constexpr std::int64_t kFrames = 12;

class HeadValues : public ::testing::Test {
 protected:
  HeadValues() {
    torch::manual_seed(31);
    config_.vocab_size = 7;
    config_.num_labels = 3;
    config_.classifier_proj_size = 9;
    config_.tdnn_dim = {8, 10};
    config_.tdnn_kernel = {3, 2};
    config_.tdnn_dilation = {1, 2};
    config_.xvector_output_dim = 6;
    input_ = torch::randn({2, kFrames, config_.feature_projection_input_dim}, torch::kDouble);
    mask_ = torch::ones({2, kFrames}, torch::kLong);
    mask_[1].slice(0, valid_[1]).zero_();
  }
  template <class Holder>
  Holder make() const {
    Holder model(config_);
    randomize_parameters(*model, 32);
    model->to(torch::kDouble);
    model->eval();
    return model;
  }
  // The states that a head works on, the encoder's last or their weighted sum.
  template <class Holder>
  torch::Tensor states_of(Holder& model, const torch::Tensor& mask) const {
    ForwardOptions options;
    options.output_hidden_states = true;
    const auto base = model->wav2vec2_bert->forward(input_, mask, {}, options);
    if (!config_.use_weighted_layer_sum) return base.last_hidden_state;
    const auto exponentials = model->layer_weights.exp();
    auto sum = torch::zeros_like(base.last_hidden_state);
    for (std::size_t i = 0; i < base.hidden_states->size(); ++i) {
      sum = sum + base.hidden_states->at(i) * exponentials[static_cast<std::int64_t>(i)];
    }
    return sum / exponentials.sum();
  }
  static torch::Tensor apply(const Linear& linear, const torch::Tensor& rows) {
    return rows.matmul(linear->weight.t()) + linear->bias;
  }
  static void expect_near(const torch::Tensor& got, const torch::Tensor& expected) {
    ASSERT_EQ(got.sizes(), expected.sizes());
    EXPECT_LT((got - expected).abs().max().item<double>(), 1e-12);
  }
  const torch::NoGradGuard no_grad_;
  Wav2Vec2BertConfig config_ = small_config();
  const std::vector<std::int64_t> valid_ = {kFrames, 8};
  torch::Tensor input_, mask_;
};

TEST_F(HeadValues, TheModelAddsHalfOfItsFeedForwardAndRunsTheAdapter) {
  config_.add_adapter = true;
  config_.use_intermediate_ffn_before_adapter = true;
  auto model = make<Wav2Vec2BertModel>();
  ForwardOptions options;
  options.output_hidden_states = true;
  const auto output = model->forward(input_, mask_, {}, options);
  const auto encoded = output.hidden_states->back();
  const auto widened = encoded + 0.5 * model->intermediate_ffn->forward(encoded);
  expect_near(output.last_hidden_state, model->adapter->forward(widened, mask_));
}

TEST_F(HeadValues, ASequenceIsClassifiedByTheMeanOfItsValidFrames) {
  for (const bool weighted : {false, true}) {
    config_.use_weighted_layer_sum = weighted;
    auto model = make<Wav2Vec2BertForSequenceClassification>();
    for (const torch::Tensor& mask : {torch::Tensor(), mask_}) {
      const auto projected = apply(model->projector, states_of(model, mask));
      for (std::int64_t row = 0; row < 2; ++row) {
        const auto frames = mask.defined() ? valid_[static_cast<std::size_t>(row)] : kFrames;
        const auto pooled = projected[row].slice(0, 0, frames).mean(0);
        expect_near(model->forward(input_, mask).logits[row], apply(model->classifier, pooled));
      }
    }
    const auto labels = torch::tensor({2, 0});
    const auto output = model->forward(input_, mask_, labels);
    const auto probabilities = torch::softmax(output.logits, 1);
    const auto expected = -(probabilities[0][2].log() + probabilities[1][0].log()) / 2;
    expect_near(output.loss, expected);
  }
}

TEST_F(HeadValues, EachFrameIsClassifiedByItsState) {
  for (const bool weighted : {false, true}) {
    config_.use_weighted_layer_sum = weighted;
    auto model = make<Wav2Vec2BertForAudioFrameClassification>();
    const auto logits = model->forward(input_, mask_).logits;
    expect_near(logits, apply(model->classifier, states_of(model, mask_)));
  }
}

TEST_F(HeadValues, AnXVectorHasTheMeanAndDeviationOfTheFramesThatItsLayersLeave) {
  auto model = make<Wav2Vec2BertForXVector>();
  for (const torch::Tensor& mask : {torch::Tensor(), mask_}) {
    auto rows = apply(model->projector, states_of(model, mask));
    for (std::size_t i = 0; i < 2; ++i) {
      const auto& kernel = model->tdnn[i]->as<TDNNLayer>()->kernel;
      std::vector<torch::Tensor> frames;
      const auto size = config_.tdnn_kernel[i], dilation = config_.tdnn_dilation[i];
      for (std::int64_t t = 0; t + (size - 1) * dilation < rows.size(1); ++t) {
        std::vector<torch::Tensor> taps;
        for (std::int64_t k = 0; k < size; ++k) taps.push_back(rows.select(1, t + k * dilation));
        frames.push_back(torch::relu(apply(kernel, torch::cat(taps, 1))));
      }
      rows = torch::stack(frames, 1);
    }
    const auto output = model->forward(input_, mask);
    for (std::int64_t row = 0; row < 2; ++row) {
      // HF: lengths without the dilation.
      const auto left = mask.defined() ? valid_[static_cast<std::size_t>(row)] - 3 : rows.size(1);
      const auto valid = rows[row].slice(0, 0, left);
      const auto count = static_cast<double>(valid.size(0));
      const auto mean = valid.sum(0) / count;
      const auto deviation = ((valid - mean).pow(2).sum(0) / (count - 1)).sqrt();
      const auto embedding = apply(model->feature_extractor, torch::cat({mean, deviation}));
      expect_near(output.embeddings[row], embedding);
      expect_near(output.logits[row], apply(model->classifier, embedding));
    }
  }
}

// By the definition: the sum over all ways to write the labels, blanks between and repeats, frame
// by frame.
double probability_of(const torch::Tensor& probabilities, const std::vector<std::int64_t>& labels,
                      std::int64_t blank, std::int64_t frame, std::size_t done, std::int64_t last) {
  if (frame == probabilities.size(0)) return done == labels.size() ? 1.0 : 0.0;
  const auto at = [&](std::int64_t token) { return probabilities[frame][token].item<double>(); };
  double sum = at(blank) * probability_of(probabilities, labels, blank, frame + 1, done, blank);
  if (last != blank) {
    sum += at(last) * probability_of(probabilities, labels, blank, frame + 1, done, last);
  }
  if (done < labels.size() && labels[done] != last) {
    sum += at(labels[done]) *
           probability_of(probabilities, labels, blank, frame + 1, done + 1, labels[done]);
  }
  return sum;
}

TEST_F(HeadValues, TheLossOfCtcIsThatOfTheValidFramesAndLabels) {
  config_.pad_token_id = 6;
  config_.ctc_loss_reduction = "sum";
  auto model = make<Wav2Vec2BertForCTC>();
  input_ = input_.slice(1, 0, 6);
  mask_ = torch::ones({2, 6}, torch::kLong);
  mask_[1].slice(0, 4).zero_();
  const auto labels = torch::tensor({0, 3, 3, 5, 0, -100}).view({2, 3});
  const auto output = model->forward(input_, mask_, labels);
  expect_near(output.logits, apply(model->lm_head,
                                   model->wav2vec2_bert->forward(input_, mask_).last_hidden_state));
  // HF: in float32.
  const auto probabilities = torch::softmax(output.logits, -1);
  const double expected =
      -std::log(probability_of(probabilities[0], {0, 3, 3}, 6, 0, 0, 6)) -
      std::log(probability_of(probabilities[1].slice(0, 0, 4), {5, 0}, 6, 0, 0, 6));
  EXPECT_NEAR(output.loss.item<double>(), expected, 1e-5 * expected);
}

}  // namespace
}  // namespace w2vbert::testing
