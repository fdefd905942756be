#include "tool/store/fingerprint.h"

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/text.h"
#include "tool/store/json_text.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

const std::string* find(const FingerprintFields& fields, const std::string& name) {
  for (const auto& [field, value] : fields) {
    if (field == name) return &value;
  }
  return nullptr;
}

[[noreturn]] void throw_different(const std::string& path, const std::string& field,
                                  const std::string* there, const std::string* asked) {
  const auto shown = [](const std::string* value) {
    return value ? in_quotes(*value) : "the default";
  };
  throw UsageError(
      path, field,
      "the outputs here were made with " + shown(there) + ", this run asks for " + shown(asked),
      "the same run, or another place for the outputs");
}

}  // namespace

std::string Fingerprint::digest() const {
  Sha256 sha;
  for (const auto& [field, value] : fields) {
    // With their lengths, so that no two lists of fields give the same bytes.
    sha.add(std::to_string(field.size()) + ":" + field + "=" + std::to_string(value.size()) + ":" +
            value + "\n");
  }
  return sha.hex();
}

std::string run_record(const Fingerprint& fingerprint) {
  Json fields = Json::object();
  for (const auto& [field, value] : fingerprint.fields) fields[field] = value;
  Json record = {{"fingerprint", fingerprint.digest()}, {"fields", fields}};
  for (const auto& [name, value] : fingerprint.notes) record["notes"][name] = value;
  return json_text(record);
}

Fingerprint parse_run_record(std::string_view text, const std::string& path) {
  const auto bad = [&](std::string_view problem) {
    return UsageError(path, "", problem, kExpectedRecord);
  };
  try {
    const JsonValue record = JsonValue::parse(text);
    const auto* digest = record.find_as<std::string>("fingerprint");
    const auto* fields = record.find_as<JsonValue::Object>("fields");
    if (!digest || !fields) throw bad("is no run record");
    Fingerprint fingerprint;
    for (const auto& [field, value] : *fields) {
      const auto* value_text = value.get_if<std::string>();
      if (!value_text) throw bad("holds a field that is no string");
      fingerprint.fields.emplace_back(field, *value_text);
    }
    if (*digest != fingerprint.digest()) {
      throw bad("holds a fingerprint that its fields do not give");
    }
    const auto* notes = record.find_as<JsonValue::Object>("notes");
    if (!notes) return fingerprint;
    for (const auto& [name, value] : *notes) {
      if (const auto* note = value.get_if<std::string>())
        fingerprint.notes.emplace_back(name, *note);
    }
    return fingerprint;
  } catch (const JsonError& error) {
    throw bad(error.what());
  }
}

void check_same_run(const Fingerprint& there, const Fingerprint& asked, const std::string& path) {
  for (const auto& [field, value] : asked.fields) {
    const std::string* other = find(there.fields, field);
    if (!other || *other != value) throw_different(path, field, other, &value);
  }
  for (const auto& [field, value] : there.fields) {
    if (find(asked.fields, field)) continue;
    const std::string* by_default = find(asked.defaults, field);
    if (!by_default || *by_default != value) throw_different(path, field, &value, by_default);
  }
}

}  // namespace w2vbert::tool
