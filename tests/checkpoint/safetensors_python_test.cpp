// Our files through the real safetensors package and back.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "checkpoint/safetensors_writer.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/checkpoint.h"

namespace w2vbert::testing {
namespace {

// Loads ours.safetensors, checks what it can see, and writes the tensors with safetensors' own
// writer.
constexpr const char* kScript = R"(
import sys, safetensors, safetensors.torch
ours, theirs = sys.argv[1:]
with safetensors.safe_open(ours, framework="pt") as file:
    assert file.metadata() == {"format": "pt", "note": "a\n\"b\" \u00e4"}, file.metadata()
tensors = safetensors.torch.load_file(ours)
assert sorted(tensors) == list(sorted(tensors)) and len(tensors) == 15, len(tensors)
safetensors.torch.save_file(tensors, theirs, metadata={"format": "pt"})
)";

TEST(SafetensorsPackage, ReadsOurFilesAndWritesWhatWeRead) {
  const char* const python = std::getenv("W2VBERT_PYTHON");
  if (python == nullptr || *python == '\0') {
    GTEST_SKIP() << "set -DW2VBERT_PYTHON to a Python with requirements.txt installed";
  }
  const TemporaryDirectory directory;
  NamedTensors tensors;
  for (const auto type : {torch::kBool, torch::kUInt8, torch::kInt8, torch::kInt16, torch::kInt32,
                          torch::kInt64, torch::kHalf, torch::kBFloat16, torch::kFloat,
                          torch::kDouble, torch::kFloat8_e4m3fn, torch::kFloat8_e5m2}) {
    tensors.emplace_back(std::string("of ") + c10::toString(type),
                         (torch::randn({5, 3}) * 3).to(type));
  }
  tensors.emplace_back("scalar", torch::tensor(2.5));
  tensors.emplace_back("empty", torch::empty({2, 0}));
  tensors.emplace_back("\xC3\xA4 \"quoted\"", torch::randn({2, 3, 4}).transpose(0, 2));
  const std::string ours = directory / "ours.safetensors",
                    theirs = directory / "theirs.safetensors";
  write_safetensors(ours, tensors, {{"note", "a\n\"b\" \xC3\xA4"}, {"format", "pt"}});
  write_text(directory / "script.py", kScript);
  const std::string command =
      std::string(python) + " " + directory / "script.py" + " " + ours + " " + theirs;
  // NOLINTNEXTLINE(bugprone-command-processor): a command of the test's own
  ASSERT_EQ(std::system(command.c_str()), 0) << command;

  const Checkpoint back = Checkpoint::open(theirs);
  ASSERT_EQ(back.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor value = back.read(name), expected = tensor.contiguous();
    EXPECT_EQ(value.scalar_type(), expected.scalar_type()) << name;
    EXPECT_EQ(value.sizes(), expected.sizes()) << name;
    EXPECT_EQ(std::memcmp(value.const_data_ptr(), expected.const_data_ptr(), expected.nbytes()), 0)
        << name;
  }
}

}  // namespace
}  // namespace w2vbert::testing
