// Kaldi's mel scale, and where the filters of SeamlessM4TFeatureExtractor stand on it.
#pragma once

#include <vector>

#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

namespace w2vbert {

double hertz_to_mel(double frequency);
double mel_to_hertz(double mel);

// In mel, num_mel_bins + 2: filter i goes from edge i to edge i + 2, and its middle is edge i + 1.
// HF: mel_filter_bank(mel_scale="kaldi"), from 20 Hz to half the sampling rate.
std::vector<double> mel_edges(const SeamlessM4TFeatureExtractorConfig& config);

}  // namespace w2vbert
