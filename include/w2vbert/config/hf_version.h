// Which release of transformers is followed where they differ. Torch-free.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace w2vbert {

/// A minor release of transformers 5; a later one is greater. docs/parity.md says what differs
/// between them.
enum class HfVersion { v5_17 = 17, v5_18, v5_19, v5_20, v5_21, v5_22, v5_23, v5_24 };

inline constexpr HfVersion kOldestHfVersion = HfVersion::v5_17;
/// What is followed where nothing else is asked for. The transformers_version of a checkpoint
/// selects nothing, as in HF.
inline constexpr HfVersion kNewestHfVersion = HfVersion::v5_24;

/// "5.24", and back, also of "5.24.0", whose last number says nothing; std::nullopt for a release
/// that is not among them and for another word.
std::string name_of(HfVersion version);
std::optional<HfVersion> hf_version_of(std::string_view name);

}  // namespace w2vbert
