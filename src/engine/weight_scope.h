// The weights of one part of a model.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "w2vbert/checkpoint/weight_source.h"

namespace w2vbert {

// The names of a source that begin with `prefix`, without it. Throws CheckpointError for a name
// that is not there.
struct WeightScope {
  std::shared_ptr<const WeightSource> source;
  std::string prefix;  // "" or with a dot at its end

  WeightScope below(const std::string& name) const { return {source, prefix + name + "."}; }
  at::IntArrayRef shape_of(const std::string& name) const;
  at::Tensor read(const std::string& name) const;  // as float32, in memory of its own
};

}  // namespace w2vbert
