#include "engine/weight_scope.h"

#include <ATen/ATen.h>

#include "w2vbert/core/error.h"

namespace w2vbert {

at::IntArrayRef WeightScope::shape_of(const std::string& name) const {
  const WeightInfo* info = source->find(prefix + name);
  if (info == nullptr)
    throw CheckpointError(source->path(), prefix + name, "is missing", "every weight of the model");
  return info->shape;
}

at::Tensor WeightScope::read(const std::string& name) const {
  at::Tensor values = at::empty(shape_of(name), at::kFloat);
  source->read(prefix + name, values);
  return values;
}

}  // namespace w2vbert
