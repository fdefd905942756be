// Fine-tunes a CTC head on a few clips, as examples/finetune_ctc.py does with transformers: it
// prints the same losses, to the last digit, and the same texts.
#include <torch/torch.h>
#include <w2vbert/audio/audio_file.h>
#include <w2vbert/checkpoint/checkpoint.h>
#include <w2vbert/checkpoint/load.h>
#include <w2vbert/checkpoint/save_pretrained.h>
#include <w2vbert/config/hf_version.h>
#include <w2vbert/core/error.h>
#include <w2vbert/features/seamless_m4t_feature_extractor.h>
#include <w2vbert/models/wav2vec2_bert_for_ctc.h>
#include <w2vbert/nn/initialization.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr const char* kUsage =
    "usage: finetune_ctc MODEL_DIR CLIPS.tsv VOCAB.json [OPTION...]\n"
    "  MODEL_DIR   of a Wav2Vec2BertModel, which gets a new head, or of a Wav2Vec2BertForCTC\n"
    "  CLIPS.tsv   audio file, tab, transcript; all clips are one batch\n"
    "  VOCAB.json  character -> id, with | for the space and [PAD] or <pad> for the blank\n"
    "  --steps N            default 10\n"
    "  --learning-rate X    default 0.001\n"
    "  --seed N             default 0\n"
    "  --adamw              AdamW instead of SGD with momentum\n"
    "  --train-all          the base model too, not the head alone\n"
    "  --gradient-checkpointing   less memory: a layer's activations are computed again\n"
    "  --hf-version X.Y     the release of transformers to follow where they differ; default the "
    "newest\n"
    "  --output DIR         save the model there, as transformers saves it\n";

struct Arguments {
  std::vector<std::string> files;
  int steps = 10;
  double learning_rate = 0.001;
  std::uint32_t seed = 0;
  bool adamw = false;
  bool train_all = false;
  bool gradient_checkpointing = false;
  w2vbert::HfVersion hf_version = w2vbert::kNewestHfVersion;
  std::string output;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&] {
      if (++i == argc) throw std::runtime_error(word + ": expected a value");
      return std::string(argv[i]);
    };
    const auto number = [&] {
      const std::string text = value();
      char* end = nullptr;
      const double parsed = std::strtod(text.c_str(), &end);
      if (text.empty() || *end != 0) throw std::runtime_error(word + ": " + text + " is no number");
      return parsed;
    };
    if (word == "--steps") {
      arguments.steps = static_cast<int>(number());
    } else if (word == "--learning-rate") {
      arguments.learning_rate = number();
    } else if (word == "--seed") {
      arguments.seed = static_cast<std::uint32_t>(number());
    } else if (word == "--adamw") {
      arguments.adamw = true;
    } else if (word == "--train-all") {
      arguments.train_all = true;
    } else if (word == "--gradient-checkpointing") {
      arguments.gradient_checkpointing = true;
    } else if (word == "--hf-version") {
      const std::string text = value();
      const auto version = w2vbert::hf_version_of(text);
      if (!version) throw std::runtime_error(word + ": " + text + " is not supported");
      arguments.hf_version = *version;
    } else if (word == "--output") {
      arguments.output = value();
    } else {
      arguments.files.push_back(word);
    }
  }
  return arguments;
}

struct Clip {
  std::filesystem::path path;
  std::string transcript;
};

std::vector<Clip> read_clips(const std::filesystem::path& tsv) {
  std::ifstream file(tsv);
  std::vector<Clip> clips;
  for (std::string line; std::getline(file, line);) {
    const auto tab = line.find('\t');
    if (line.empty()) continue;
    if (tab == std::string::npos) throw std::runtime_error(tsv.string() + ": no tab in " + line);
    clips.push_back({tsv.parent_path() / line.substr(0, tab), line.substr(tab + 1)});
  }
  if (clips.empty()) throw std::runtime_error(tsv.string() + ": no clips");
  return clips;
}

// What HF's Wav2Vec2CTCTokenizer makes of a vocab.json.
class Vocabulary {
 public:
  explicit Vocabulary(const std::string& path) {
    const nlohmann::json root = read(path);
    if (!root.is_object()) {
      throw w2vbert::ConfigError(path, "", root.type_name(), "an object of tokens and ids");
    }
    tokens_.resize(root.size());
    for (const auto& [token, id] : root.items()) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= tokens_.size()) {
        throw w2vbert::ConfigError(path, token, id.dump(), "an id below the number of tokens");
      }
      tokens_[id.get<std::size_t>()] = token;
      ids_[token] = id.get<std::int64_t>();
    }
    const auto find = [&](const char* name, const char* other) {
      const auto found = ids_.contains(name) ? ids_.find(name) : ids_.find(other);
      if (found == ids_.end()) throw w2vbert::ConfigError(path, name, "missing", other);
      return found->second;
    };
    blank_ = find("[PAD]", "<pad>");
    unknown_ = find("[UNK]", "<unk>");
  }

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  std::int64_t blank() const { return blank_; }

  // Character by character, in UTF-8; a space is "|".
  torch::Tensor encode(const std::string& text) const {
    std::vector<std::int64_t> ids;
    for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
      do ++end;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
      const std::string character = text.substr(begin, end - begin);
      const auto found = ids_.find(character == " " ? "|" : character);
      ids.push_back(found == ids_.end() ? unknown_ : found->second);
    }
    return torch::tensor(ids, torch::kLong);
  }

  // The best token of every frame, each run of one token once, without blanks.
  std::string decode(const torch::Tensor& logits) const {  // (T, V)
    std::string text;
    std::int64_t before = -1;
    const auto best = logits.argmax(-1).to(torch::kCPU).contiguous();
    for (std::int64_t frame = 0; frame < best.size(0); ++frame) {
      const auto id = best[frame].item<std::int64_t>();
      if (id != before && id != blank_) {
        const std::string& token = tokens_[static_cast<std::size_t>(id)];
        text += token == "|" ? " " : token;
      }
      before = id;
    }
    const auto first = text.find_first_not_of(' ');
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
  }

 private:
  static nlohmann::json read(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw w2vbert::ConfigError(path, "", "cannot be read");
    try {
      return nlohmann::json::parse(file);
    } catch (const nlohmann::json::exception& error) {
      throw w2vbert::ConfigError(path, "", error.what(), "a JSON object");
    }
  }

  std::vector<std::string> tokens_;
  std::map<std::string, std::int64_t> ids_;
  std::int64_t blank_ = 0;
  std::int64_t unknown_ = 0;
};

// The checkpoint's weights; a head that it does not have is new, with HF's initialisation.
w2vbert::Wav2Vec2BertForCTC load_model(const std::string& directory, const Vocabulary& vocabulary,
                                       const Arguments& arguments) {
  auto config = w2vbert::Wav2Vec2BertConfig::from_pretrained(directory, arguments.hf_version);
  config.vocab_size = vocabulary.size();
  config.pad_token_id = vocabulary.blank();
  config.ctc_loss_reduction = "mean";
  w2vbert::Wav2Vec2BertForCTC model = nullptr;
  {
    const w2vbert::SkipInitialization skip;  // every value is read or set below
    model = w2vbert::Wav2Vec2BertForCTC(config);
  }
  w2vbert::LoadOptions options;
  options.lenient = true;  // HF's from_pretrained; what may be missing is checked here
  const auto report = load_state_dict(*model, w2vbert::Checkpoint::open(directory), options);
  const std::vector<std::string> head = {"lm_head.bias", "lm_head.weight"};
  auto missing = report.missing;
  std::sort(missing.begin(), missing.end());
  if (!report.mismatched.empty() || (!missing.empty() && missing != head)) {
    throw std::runtime_error(directory + ": " + report.summary());
  }
  torch::manual_seed(arguments.seed);
  // HF: from_pretrained draws this before the head, also where the checkpoint holds it.
  if (model->wav2vec2_bert->masked_spec_embed.defined()) torch::rand({config.hidden_size});
  if (!missing.empty()) w2vbert::init_weights(*model->lm_head, config);
  return model;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<torch::Tensor>& trained,
                                                        const Arguments& arguments) {
  if (arguments.adamw) {
    return std::make_unique<torch::optim::AdamW>(
        trained, torch::optim::AdamWOptions(arguments.learning_rate));
  }
  return std::make_unique<torch::optim::SGD>(
      trained, torch::optim::SGDOptions(arguments.learning_rate).momentum(0.9));
}

void run(const Arguments& arguments) {
  const std::string& directory = arguments.files[0];
  const auto clips = read_clips(arguments.files[1]);
  const Vocabulary vocabulary(arguments.files[2]);
  const auto extractor = w2vbert::SeamlessM4TFeatureExtractor::from_pretrained(directory);
  auto model = load_model(directory, vocabulary, arguments);

  std::vector<std::vector<float>> waveforms;
  std::vector<torch::Tensor> transcripts;
  for (const Clip& clip : clips) {
    waveforms.push_back(w2vbert::load_audio(clip.path.string()).samples);
    transcripts.push_back(vocabulary.encode(clip.transcript));
  }
  const auto batch = extractor(waveforms);
  constexpr double kIgnored = -100;  // what the loss leaves out
  const auto labels =
      torch::nn::utils::rnn::pad_sequence(transcripts, /*batch_first=*/true, kIgnored);
  if (!arguments.train_all) model->freeze_base_model();
  if (arguments.gradient_checkpointing) w2vbert::gradient_checkpointing_enable(*model);

  std::vector<torch::Tensor> trained;
  for (const auto& parameter : model->parameters()) {
    if (parameter.requires_grad()) trained.push_back(parameter);
  }
  const auto optimizer = make_optimizer(trained, arguments);
  torch::manual_seed(arguments.seed);                 // dropout and layerdrop
  w2vbert::NumpyRandom spec_augment(arguments.seed);  // NumPy's generator in HF
  w2vbert::ForwardOptions options;
  options.spec_augment_random = &spec_augment;
  model->train();
  for (int step = 1; step <= arguments.steps; ++step) {
    optimizer->zero_grad();
    const auto loss =
        model->forward(batch.input_features, batch.attention_mask, labels, options).loss;
    loss.backward();
    optimizer->step();
    std::printf("step %d loss %.9g\n", step, loss.item<double>());
    std::fflush(stdout);
  }
  if (!arguments.output.empty()) {
    w2vbert::save_pretrained(model, arguments.output);
    extractor.save_pretrained(arguments.output);
  }

  model->eval();
  const torch::NoGradGuard no_grad;
  const auto logits = model->forward(batch.input_features, batch.attention_mask).logits;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const auto text = vocabulary.decode(logits[static_cast<std::int64_t>(i)]);
    std::printf("%s\t%s\n", clips[i].path.filename().c_str(), text.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse(argc, argv);
    if (arguments.files.size() != 3) return std::cerr << kUsage, 2;
    run(arguments);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
