// Replays the cases of tests/tool/parity/export_suite.py on any device, without GoogleTest, and
// prints a table: parity_replay FIXTURES [DEVICE] [REPORT.json]. Exit status 1 when any bit
// differs, or when a case cannot be replayed, which the table says of it.
#include <ATen/Parallel.h>
#include <torch/types.h>
#include <torch/version.h>

#include <fstream>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tool/parity/fixture.h"
#include "tool/parity/parity.h"

namespace {

std::string words_of(const w2vbert::tool::ParityRow& row) {
  return row.error.empty() ? row.name : row.name + ": " + row.error;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace w2vbert::tool;
  using namespace w2vbert::tool::testing;
  if (argc < 2) {
    std::cerr << "usage: parity_replay FIXTURES [DEVICE] [REPORT.json]\n";
    return 2;
  }
  ParityOptions options;
  options.load.device = torch::Device(argc > 2 ? argv[2] : "cpu");
  options.tolerance = 0.0;
  nlohmann::ordered_json report = {{"device", options.load.device.str()}, {"torch", TORCH_VERSION}};
  std::cout << std::left << std::setw(52) << "case" << std::right << std::setw(9) << "outputs"
            << std::setw(12) << "values" << std::setw(11) << "differing" << std::setw(11)
            << "largest"
            << "  first difference\n";
  std::int64_t values = 0, differing = 0;
  bool within = true;
  for (const Case& one : read_cases(argv[1])) {
    // Other random numbers are drawn on a device than on the CPU.
    if (one.reference.flag("train") && !options.load.device.is_cpu()) continue;
    at::set_num_threads(one.reference.threads());
    options.load.dtype = one.reference.dtype();
    options.load.attn_implementation = one.reference.setting("attn_implementation");
    ParityResult result;
    try {
      result = check_parity(one.model_directory, one.reference, options);
    } catch (const std::exception& error) {  // such as a config that is refused
      result.chain.push_back({"the whole model", {}, false, error.what()});
    }
    const auto outputs = result.modules.size() + result.chain.size() + result.gradients.size();
    const std::string first = result.within()           ? ""
                              : !result.missing.empty() ? result.missing.front() + " (missing)"
                                                        : words_of(*result.first_outside());
    const double largest = result.largest();
    within = within && result.within();
    values += result.values();
    differing += result.differing();
    std::cout << std::left << std::setw(52) << one.name << std::right << std::setw(9) << outputs
              << std::setw(12) << result.values() << std::setw(11) << result.differing()
              << std::setw(11) << std::setprecision(3) << largest << "  " << first << "\n";
    report["cases"].push_back({{"name", one.name},
                               {"outputs", outputs},
                               {"values", result.values()},
                               {"differing", result.differing()},
                               {"largest", largest},
                               {"first_difference", first}});
  }
  if (argc > 3) std::ofstream(argv[3]) << report.dump(2) << "\n";
  std::cout << values << " values, " << differing
            << " differ: " << (within ? "every bit is PyTorch's\n" : "some bits differ\n");
  return within ? 0 : 1;
}
