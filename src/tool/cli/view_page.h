// The page of `w2vbert view`: everything in one HTML file.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tool/tasks/recording_view.h"
#include "w2vbert/audio/waveform.h"

namespace w2vbert::tool {

struct ViewPage {
  std::string title;
  std::string summary;                                     // a line below it
  std::vector<std::pair<std::string, std::string>> facts;  // name and value
  const Waveform* audio = nullptr;                         // to play, or null
  std::string playback;                                    // a line on what is played, and why not
};

// Texts are any bytes; nothing in them is taken for markup or a script, and the page's own policy
// lets no other script run and nothing be fetched.
std::string view_html(const ViewPage& page, const RecordingView& view,
                      const SeamlessM4TFeatureExtractorConfig& features);

}  // namespace w2vbert::tool
