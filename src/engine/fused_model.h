// A model class whose encoder is fused.
#pragma once

#include "engine/fused_encoder.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// The encoder that fuse() built into the model; null where there is not one. Lives as long as the
// model's encoder.
FusedEncoder* fused_encoder_of(Wav2Vec2BertModelImpl& model);

}  // namespace w2vbert
