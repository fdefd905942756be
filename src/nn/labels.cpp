#include "nn/labels.h"

#include <torch/types.h>

#include <cstddef>

#include "core/text.h"

namespace w2vbert {

std::string label_outside(const at::Tensor& labels, const LabelRange& range) {
  at::Tensor bad = labels.ge(range.count);
  if (!range.negative_is_padding) bad = bad.logical_or(labels.lt(0));
  if (range.ignored) bad = bad.logical_and(labels.ne(*range.ignored));
  const at::Tensor places = bad.nonzero().cpu();
  if (places.size(0) == 0) return "";
  const at::Tensor place = places[0].contiguous();  // (dimensions of labels)
  const auto number = labels.masked_select(bad)[0].item<std::int64_t>();
  std::string text =
      std::to_string(number) + " at " +
      shape_text({place.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(place.numel())}) +
      ", expected " + (range.negative_is_padding ? "" : "from 0 to ") + "below " + range.key +
      " = " + std::to_string(range.count);
  if (range.ignored) text += ", or " + std::to_string(*range.ignored);
  return text;
}

void check_label_range(const at::Tensor& labels, const LabelRange& range) {
  if (!labels.is_cpu()) return;
  const std::string outside = label_outside(labels, range);
  TORCH_CHECK_VALUE(outside.empty(), "labels: ", outside);
}

}  // namespace w2vbert
