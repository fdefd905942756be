// Each kernel beside a plain reference in double precision, in the emulator.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "engine/cuda/emulator/emulator.h"
#include "engine/device/cuda/launchers.h"

namespace w2vbert::cuda {

// What a run of a kernel in the emulator gave.
struct Outcome {
  double worst_error = 0.0;  // |y - reference| / (1 + |reference|)
  std::size_t wrong =
      0;  // values beyond the tolerance, or infinite or no number where the reference is not
  std::size_t unwritten = 0;  // bytes of y
  std::string first_wrong;
  emulator::Findings findings;
  const char* refused = nullptr;

  bool is_clean() const {
    return refused == nullptr && wrong == 0 && unwritten == 0 && findings.total() == 0;
  }
  // Which checks found something: "reference bounds ...".
  std::string checks() const;
  std::string text() const;
};

// Values that a case puts among the random ones.
enum class Hostile { nothing, infinity, not_a_number, large };

struct GatedConvCase {
  std::vector<std::int32_t> lengths;  // of the clips
  std::int32_t channels = 8;
  std::int32_t kernel_size = 31;
  std::int32_t tile_rows = kGatedConvTileRows;
  Hostile hostile = Hostile::nothing;
  float epsilon = 1e-5f;
  unsigned seed = 1;
};
Outcome run(const GatedConvCase& of, Element element);

enum class Mask { nothing, random, all_of_each_clip, every_second_clip };

struct AttentionCase {
  std::vector<std::int32_t> lengths;
  std::int32_t heads = 1;
  std::int32_t head_size = 16;
  bool positions = true;
  std::int32_t left = 64;
  std::int32_t right = 8;
  Mask mask = Mask::nothing;
  bool sdpa = true;
  Hostile hostile = Hostile::nothing;
  float scale = 1.0f;  // of the queries
  float score_scale = 0.25f;
  unsigned seed = 1;
};
Outcome run(const AttentionCase& of, Element element);

struct AddNormCase {
  std::int64_t rows = 1;
  std::int32_t channels = 8;
  bool delta = true;
  float scale = 1.0f;
  bool float32_output = false;
  Hostile hostile = Hostile::nothing;
  unsigned seed = 1;
};
Outcome run(const AddNormCase& of, Element element);

struct BiasSwishCase {
  std::int64_t rows = 1;
  std::int32_t channels = 8;
  bool bias = true;
  bool in_place = false;
  Hostile hostile = Hostile::nothing;
  unsigned seed = 1;
};
Outcome run(const BiasSwishCase& of, Element element);

inline constexpr Element kElements[] = {Element::float32, Element::bfloat16, Element::float16};
const char* name_of(Element element);
inline void PrintTo(Element element, std::ostream* stream) { *stream << name_of(element); }

// Random lengths of clips, some of them 1 or a multiple of a tile's rows.
std::vector<std::int32_t> random_lengths(unsigned seed, int clips, int longest);

}  // namespace w2vbert::cuda
