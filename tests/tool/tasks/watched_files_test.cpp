#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/tasks/model_identity.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;

class WatchedModel : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(model_);
    fs::create_directories(lora_);
    write_text(weights_, "weights");
    write_text(model_ + "/config.json", "{}");
    write_text(lora_ + "/adapter_config.json", "{}");
    write_text(lora_ + "/adapter_model.safetensors", "adapter");
  }
  const TemporaryDirectory scratch_;
  const std::string model_ = scratch_ / "model";
  const std::string lora_ = scratch_ / "lora";
  const std::string weights_ = model_ + "/model.safetensors";
};

TEST_F(WatchedModel, StaysWhatItIs) {
  const auto replace = [&](const std::string& path) {
    const auto time =
        fs::exists(path) ? fs::last_write_time(path) : fs::file_time_type::clock::now();
    write_text(path + ".new", fs::exists(path) ? read_text(path) : "new");
    fs::last_write_time(path + ".new", time);  // of the same size and time
    fs::rename(path + ".new", path);
  };
  const std::vector<std::function<void()>> changes = {
      [&] { replace(weights_); },
      [&] { fs::last_write_time(weights_, fs::file_time_type{}); },
      [&] { write_text(weights_, "longer weights"); },
      [&] { fs::remove(weights_); },
      [&] { replace(model_ + "/config.json"); },
      [&] { replace(model_ + "/processor_config.json"); },  // was not there
      [&] { replace(lora_ + "/adapter_config.json"); },
      [&] { replace(lora_ + "/adapter_model.safetensors"); },
  };
  for (const auto& change : changes) {
    SetUp();
    fs::remove(model_ + "/processor_config.json");
    WatchedFiles files;
    files.add_model(model_, {weights_});
    files.add_lora(lora_);
    EXPECT_NO_THROW(files.check());
    change();
    EXPECT_THROW(files.check(), CheckpointError);
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
