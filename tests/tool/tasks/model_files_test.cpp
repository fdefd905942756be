#include "tool/tasks/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::HasSubstr;

// People save the tokenizer beside the adapter whose head it belongs to.
TEST(ModelFiles, AreTheModelsAndTheAdaptersWhetherTheyAreThereOrNot) {
  const TemporaryDirectory scratch;
  for (const char* name :
       {"model/config.json", "model/model.safetensors", "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors", "adapter/vocab.json"}) {
    std::filesystem::create_directories(std::filesystem::path(scratch / name).parent_path());
    write_text(scratch / name, "{}");
  }
  const auto refused = [&](const std::string& lora, const std::string& path) {
    ProtectedFiles files;
    add_model_files(files, scratch / "model", "", lora);
    return message_of<UsageError>([&] { files.check(scratch / path, "output"); });
  };
  const std::string adapter = scratch / "adapter";
  for (const char* name : {"model/config.json", "model/model.safetensors", "model/vocab.json"}) {
    EXPECT_THAT(refused("", name), HasSubstr("is the model's as well")) << name;
    EXPECT_THAT(refused(adapter, name), HasSubstr("is the model's as well")) << name;
  }
  for (const char* name : {"adapter/adapter_config.json", "adapter/adapter_model.safetensors",
                           "adapter/vocab.json", "adapter/tokenizer_config.json"}) {
    EXPECT_THAT(refused(adapter, name), HasSubstr("is the adapter's as well")) << name;
    EXPECT_EQ(refused("", name), "accepted") << name;
  }
  EXPECT_EQ(refused(adapter, "adapter/text.jsonl"), "accepted");
}

}  // namespace
}  // namespace w2vbert::tool::testing
