// Real speech in, hidden states out: hidden_states MODEL_DIR AUDIO
#include <torch/torch.h>
#include <w2vbert/audio/audio_file.h>
#include <w2vbert/checkpoint/from_pretrained.h>
#include <w2vbert/core/error.h>
#include <w2vbert/engine/fuse.h>
#include <w2vbert/features/seamless_m4t_feature_extractor.h>
#include <w2vbert/models/wav2vec2_bert_model.h>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: hidden_states MODEL_DIR AUDIO\n", 2;
  torch::NoGradGuard no_grad;
  auto extractor = w2vbert::SeamlessM4TFeatureExtractor::from_pretrained(argv[1]);
  auto model = w2vbert::from_pretrained<w2vbert::Wav2Vec2BertModel>(argv[1]);
  w2vbert::fuse(*model);  // the fast path on a CPU; without this line: PyTorch's bits, any device
  auto inputs = extractor(w2vbert::load_audio(argv[2]));
  auto output = model->forward(inputs.input_features, inputs.attention_mask);
  std::cout << output.last_hidden_state.sizes() << "\n"
            << output.last_hidden_state[0][0].slice(0, 0, 4) << "\n";
} catch (const w2vbert::Error& error) {  // a path, what is wrong with it, and what was expected
  return std::cerr << "error: " << error.what() << "\n", 1;
}
