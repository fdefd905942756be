// The documents of --format in the folder of --output: a file for each clip.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tool/cli/answer.h"
#include "tool/cli/answers.h"
#include "tool/corpus/input_list.h"
#include "tool/store/answer_records.h"
#include "tool/store/fingerprint.h"

namespace w2vbert::tool {

// A document that is there already stays, unless this program has written it so: people correct
// subtitles. The records of the answers (answer_records.h) are in the folder, hidden, those of
// each share for itself.
class DocumentFiles : public KeptAnswers {
 public:
  // What the document of a clip is; `name`: that of its file.
  using Document = std::function<std::string(const std::string& name, const AnsweredClip& clip,
                                             const Answer& answer)>;

  // `ending`: of the files, ".srt". Makes the folder. Throws as AnswerRecords.
  DocumentFiles(std::string folder, std::string ending, const KeepRequest& request,
                const Fingerprint& run, Document document);

  // Throws StorageError also where a document is there that is not as this program has written it.
  std::size_t take_answered(const Partition& partition) override;
  bool is_answered(std::size_t index) const override { return answered_[index]; }
  void begin() override;
  void add(const AnsweredClip& clip, const Answer& answer) override;
  void add(const ClipFailure& failure, std::optional<std::size_t>) override {
    records_.add(failure);
  }
  std::size_t finish() override;

 private:
  std::string path_of(std::size_t index) const;
  std::string asked_digest(std::size_t index) const;  // where more is asked than a clip

  const std::string folder_;
  const std::string ending_;
  const InputList& inputs_;
  const Document document_;
  const AnswerRecords::Asked asked_;
  AnswerRecords records_;
  std::vector<bool> answered_;
  std::set<std::string> folders_;                // that of all, and those of documents
  std::map<std::size_t, std::string> replaced_;  // the digests of documents that may be replaced
};

}  // namespace w2vbert::tool
