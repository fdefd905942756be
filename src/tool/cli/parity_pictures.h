// The pictures of the page of `w2vbert parity`, as SVG.
#pragma once

#include <string>
#include <vector>

#include "tool/parity/parity.h"

namespace w2vbert::tool {

struct Layer {
  std::string title;                      // "encoder.layers.0"
  std::vector<const ParityRow*> modules;  // of it, in order
  const ParityRow* state = nullptr;       // what the whole model had after it
};

// What lies before the layers, each layer, and what follows.
std::vector<Layer> layers_of(const ParityResult& result);

// How the error grows: states 0 to L of the whole model, and the worst module of each layer.
std::string growth_picture(const ParityResult& result, const std::vector<Layer>& layers);

// Left: the layer's modules, each by itself. Right: the whole model's error after it, over the
// frames.
std::string layer_picture(const ParityResult& result, const Layer& layer);

}  // namespace w2vbert::tool
