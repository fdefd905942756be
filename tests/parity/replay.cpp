// Replays the cases of scripts/export_parity_fixtures.py on any device, without GoogleTest, and prints
// a table: parity_replay FIXTURES [DEVICE] [REPORT.json]. Exit status 1 when any bit differs.
#include <torch/types.h>
#include <torch/utils.h>
#include <torch/version.h>

#include <fstream>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "fixture.h"

namespace w2vbert::testing {
namespace {

struct Row {
  std::string name;
  int compared = 0;
  std::int64_t values = 0;
  std::int64_t differing = 0;
  double largest = 0.0;
  std::string first = {};  // the first output that differs, in forward order

  void compare(const std::string& what, const torch::Tensor& ours, const torch::Tensor& theirs) {
    ++compared;
    values += ours.numel();
    if (!theirs.defined() || ours.sizes() != theirs.sizes()) {
      differing += ours.numel();
      if (first.empty()) first = what + " (shape)";
      return;
    }
    const auto delta = difference(ours, theirs);
    differing += delta.values;
    largest = std::max(largest, delta.largest);
    if (delta.values != 0 && first.empty()) first = what;
  }
};

Row run(const Case& one) {
  Row row{one.name};
  at::set_num_threads(std::stoi(one.settings.at("threads")));
  const torch::AutoGradMode grad(one.flag("grad"));
  auto model = one.load<AnyModel>();
  for (const auto& item : model->named_modules("", /*include_self=*/false)) {
    const auto outputs = replay(*item.value(), one, item.key());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      row.compare(item.key(), outputs[i],
                  one.tensor("modules/" + item.key() + "/output/" + std::to_string(i)));
    }
  }
  ForwardOptions options;
  options.output_hidden_states = true;
  for (const auto& [name, output] : model.forward(one.inputs(), options)) {
    row.compare(name, output, one.output(name));
  }
  return row;
}

}  // namespace
}  // namespace w2vbert::testing

int main(int argc, char** argv) {
  using namespace w2vbert::testing;
  if (argc < 2) {
    std::cerr << "usage: parity_replay FIXTURES [DEVICE] [REPORT.json]\n";
    return 2;
  }
  const torch::Device device(argc > 2 ? argv[2] : "cpu");
  nlohmann::ordered_json report = {{"device", device.str()}, {"torch", TORCH_VERSION}};
  std::cout << std::left << std::setw(52) << "case" << std::right << std::setw(9) << "outputs"
            << std::setw(12) << "values" << std::setw(11) << "differing" << std::setw(11)
            << "largest" << "  first difference\n";
  bool equal = true;
  for (const Case& one : read_cases(argv[1], device)) {
    // Other random numbers are drawn on a device than on the CPU.
    if (one.flag("train")) continue;
    const Row row = run(one);
    equal = equal && row.differing == 0;
    std::cout << std::left << std::setw(52) << row.name << std::right << std::setw(9)
              << row.compared << std::setw(12) << row.values << std::setw(11) << row.differing
              << std::setw(11) << std::setprecision(3) << row.largest << "  " << row.first << "\n";
    report["cases"].push_back({{"name", row.name},
                               {"outputs", row.compared},
                               {"values", row.values},
                               {"differing", row.differing},
                               {"largest", row.largest},
                               {"first_difference", row.first}});
  }
  if (argc > 3) std::ofstream(argv[3]) << report.dump(2) << "\n";
  std::cout << (equal ? "every bit is PyTorch's\n" : "some bits differ\n");
  return equal ? 0 : 1;
}
