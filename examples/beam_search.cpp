// Speech in, the most probable texts out, with a language model: beam_search MODEL_DIR AUDIO
// MODEL_DIR holds what transformers' Wav2Vec2ProcessorWithLM saves beside a Wav2Vec2BertForCTC.
#include <torch/torch.h>
#include <w2vbert/audio/audio_file.h>
#include <w2vbert/checkpoint/from_pretrained.h>
#include <w2vbert/ctc/beam_search.h>
#include <w2vbert/engine/fuse.h>
#include <w2vbert/features/seamless_m4t_feature_extractor.h>
#include <w2vbert/models/wav2vec2_bert_for_ctc.h>

#include <iostream>
#include <span>

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: beam_search MODEL_DIR AUDIO\n", 2;
  torch::NoGradGuard no_grad;
  auto extractor = w2vbert::SeamlessM4TFeatureExtractor::from_pretrained(argv[1]);
  auto model = w2vbert::from_pretrained<w2vbert::Wav2Vec2BertForCTC>(argv[1]);
  auto decoder = w2vbert::BeamSearchDecoder::from_pretrained(argv[1]);
  w2vbert::fuse(*model);
  auto inputs = extractor(w2vbert::load_audio(argv[2]));
  auto logits = model->forward(inputs.input_features, inputs.attention_mask).logits.contiguous();
  for (const auto& hypothesis : decoder.decode(
           std::span(logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())))) {
    std::cout << hypothesis.lm_score << "\t" << hypothesis.text << "\n";
  }
}
