#include "tool/cli/worker_answer.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <variant>

#include "core/dtype.h"
#include "core/escaped_name.h"
#include "tool/cli/timed_json.h"
#include "tool/corpus/base64.h"
#include "tool/store/json_text.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

Json id_of(const RequestId& id) {
  if (const auto* text = std::get_if<std::string>(&id)) return *text;
  if (const auto* number = std::get_if<std::uint64_t>(&id)) return *number;
  if (const auto* number = std::get_if<std::int64_t>(&id)) return *number;
  return nullptr;
}

std::string name_of_type(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kLong ? "int64" : dtype_name(tensor.scalar_type());
}

Json json_of(const at::Tensor& tensor, bool with_data) {
  // NumPy has no bfloat16, and float32 holds every value of the narrow types.
  const bool widens = with_data && tensor.is_floating_point();
  const at::Tensor told = widens ? tensor.to(at::kFloat).contiguous() : tensor;
  Json json = {{"dtype", name_of_type(told)}, {"shape", told.sizes().vec()}};
  if (with_data) {
    json["data"] =
        base64_text(std::span(static_cast<const std::byte*>(told.const_data_ptr()), told.nbytes()));
  }
  return json;
}

}  // namespace

std::string json_line_of(const WorkerAnswer& answer) {
  const WorkerRequest& request = answer.asked.request;
  Json line = {{"line", answer.asked.line}, {"id", id_of(request.id)}};
  if (answer.failure) {
    line["error"] = {{"kind", answer.failure->kind}, {"message", answer.failure->message}};
    return json_line(line);
  }
  line["seconds"] = answer.audio_seconds;
  line["frames"] = answer.frames;
  if (request.want == WorkerRequest::Want::text) {
    line["text"] = answer.text;
    line["words"] = timed_json(answer.words, "word");
  } else {
    const bool in_file = !request.output.empty();
    if (in_file) line["output"] = escaped_name(request.output);
    Json& tensors = line["tensors"] = Json::object();
    for (const auto& [name, tensor] : answer.tensors) tensors[name] = json_of(tensor, !in_file);
  }
  if (!answer.note.empty()) line["note"] = answer.note;
  return json_line(line);
}

AnswerPrinter::AnswerPrinter(bool in_order, std::function<void(const std::string& line)> print,
                             std::function<void()> printed)
    : in_order_(in_order), print_(std::move(print)), printed_(std::move(printed)) {}

void AnswerPrinter::add(std::size_t turn, std::string line) {
  const std::lock_guard lock(mutex_);
  if (!in_order_) return print(line);
  early_.emplace(turn, std::move(line));
  for (auto next = early_.find(next_turn_); next != early_.end(); next = early_.find(next_turn_)) {
    print(next->second);
    early_.erase(next);
    ++next_turn_;
  }
}

void AnswerPrinter::print(const std::string& line) {
  if (!failure_) {
    try {
      print_(line);
    } catch (...) {
      failure_ = std::current_exception();
      has_failed_ = true;
    }
  }
  printed_();
}

void AnswerPrinter::rethrow_failure() const {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace w2vbert::tool
