// Times the feature extractor: features_benchmark CLIP.f32 THREADS REPEATS, where CLIP.f32 holds
// float32 samples at 16 kHz. Prints the seconds of every repeat, one a line.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <vector>

#include "core/parse_number.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::ifstream file(argv[1], std::ios::binary | std::ios::ate);
  std::vector<float> clip(static_cast<std::size_t>(file.tellg()) / sizeof(float));
  file.seekg(0).read(reinterpret_cast<char*>(clip.data()),
                     static_cast<std::streamsize>(clip.size() * sizeof(float)));
  const auto threads = w2vbert::parse_number<int>(argv[2]);
  const auto repeats = w2vbert::parse_number<int>(argv[3]);
  if (!threads || *threads < 1 || !repeats) return 2;
  at::set_num_threads(*threads);
  const w2vbert::SeamlessM4TFeatureExtractor extractor;
  const std::vector<std::vector<float>> clips = {clip};
  extractor(clips);  // warm-up
  for (int i = *repeats; i > 0; --i) {
    const auto start = std::chrono::steady_clock::now();
    extractor(clips);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.9f\n", seconds.count());
  }
}
