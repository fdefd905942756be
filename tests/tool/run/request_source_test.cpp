#include "tool/run/request_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "w2vbert/core/error.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
    reader.emplace(ends[0]);
    writer.emplace(ends[1]);
  }
  std::optional<Descriptor> reader, writer;
};

class Requests : public ::testing::Test {
 protected:
  std::shared_ptr<RequestSource> source(std::size_t max_waiting = 1000,
                                        std::size_t max_line_bytes = 1000) {
    return std::make_shared<RequestSource>(input_.reader->number(), output_.writer->number(),
                                           RequestSource::Limits{max_line_bytes, max_waiting},
                                           [this] { return stopping_.load(); });
  }
  void send(const std::string& text) { write_all(input_.writer->number(), text, "the input"); }
  void end() { input_.writer.reset(); }
  // The paths of all turns, or the kind of what is wrong with a line.
  static std::vector<std::string> read_all(RequestSource& source) {
    std::vector<std::string> paths;
    for (auto turns = source.next(); turns.begin < turns.end; turns = source.next()) {
      EXPECT_EQ(turns.begin, paths.size());
      EXPECT_EQ(turns.end, turns.begin + 1);
      try {
        paths.push_back(source.input(turns.begin).path);
      } catch (const RequestError& error) {
        paths.push_back(error.kind());
      } catch (const Interrupted&) {
        paths.push_back("interrupted");
      }
    }
    return paths;
  }

  Pipe input_, output_;
  std::atomic<bool> stopping_{false};
};

TEST_F(Requests, AreTurnsInTheirOrder) {
  send("{\"path\": \"a\"}\r\n\n  \n{\"path\": \"b\", \"id\": 7}\nno JSON\n{\"path\": \"c\"}");
  end();
  const auto requests = source();
  EXPECT_THAT(read_all(*requests), ElementsAre("a", "b", "json", "c"));
  EXPECT_EQ(requests->take(0).line, 1U);
  const AcceptedRequest second = requests->take(1);
  EXPECT_EQ(second.line, 4U);
  EXPECT_EQ(second.turn, 1U);
  EXPECT_EQ(second.request.id, RequestId(std::uint64_t{7}));
  EXPECT_EQ(requests->find(2).line, 5U);
  EXPECT_EQ(requests->find(3).request.path, "c");
  EXPECT_EQ(requests->take(3).request.path, "c");
  EXPECT_EQ(requests->take(3).request.path, "");  // forgotten
}

TEST_F(Requests, KeepNoMoreOfALongLineThanFits) {
  send("{\"path\": \"" + std::string(5000, 'a') + "\"}\n{\"path\": \"b\"}\n");
  end();
  EXPECT_THAT(read_all(*source()), ElementsAre("request", "b"));
}

TEST_F(Requests, GiveTheSamplesAway) {
  send("{\"samples\": \"AAAAAAAAgD8=\", \"sampling_rate\": 8000}\n");
  end();
  const auto requests = source();
  ASSERT_EQ(requests->next().end, 1U);
  const ClipInput input = requests->input(0);
  ASSERT_TRUE(input.waveform);
  EXPECT_THAT(input.waveform->samples, ElementsAre(0, 1));
  EXPECT_FALSE(requests->find(0).request.samples);
}

TEST_F(Requests, AreNotReadOnWhileAnswersWait) {
  send("{\"path\": \"a\"}\n{\"path\": \"b\"}\n{\"path\": \"c\"}\n");
  end();
  const auto requests = source(/*max_waiting=*/2);
  EXPECT_EQ(requests->next().begin, 0U);
  EXPECT_EQ(requests->next().begin, 1U);
  auto third = std::async(std::launch::async, [&] { return requests->next(); });
  EXPECT_EQ(third.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  requests->count_answer();
  EXPECT_EQ(third.get().begin, 2U);
  requests->count_answer();
  const auto none = requests->next();
  EXPECT_EQ(none.begin, none.end);
}

TEST_F(Requests, ThatHaveComeBeforeAStopAreInterrupted) {
  send("{\"path\": \"a\", \"id\": 1}\n{\"path\": \"b\", \"id\": 2}\nno JSON\n{\"path\": \"c");
  const auto requests = source(/*max_waiting=*/1);
  EXPECT_EQ(requests->next().begin, 0U);
  EXPECT_EQ(requests->input(0).path, "a");
  stopping_ = true;
  // In the same block, and beyond what may wait. The last line is not whole.
  EXPECT_EQ(requests->next().begin, 1U);
  EXPECT_THROW(requests->input(1), Interrupted);
  EXPECT_EQ(requests->find(1).request.id, RequestId(std::uint64_t{2}));
  EXPECT_EQ(requests->next().begin, 2U);
  EXPECT_THROW(requests->input(2), RequestError);
  const auto none = requests->next();
  EXPECT_EQ(none.begin, none.end);
}

TEST_F(Requests, EndWhenTheReaderOfTheAnswersIsGone) {
  const auto requests = source();
  auto next = std::async(std::launch::async, [&] { return requests->next(); });
  EXPECT_EQ(next.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  EXPECT_FALSE(requests->is_output_gone());
  output_.reader.reset();
  const auto none = next.get();
  EXPECT_EQ(none.begin, none.end);
  EXPECT_TRUE(requests->is_output_gone());
}

TEST_F(Requests, EndWhenTheOtherEndOfASocketIsGone) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  output_.reader.emplace(ends[0]);
  output_.writer.emplace(ends[1]);
  const auto requests = source();
  output_.reader.reset();
  const auto none = requests->next();
  EXPECT_EQ(none.begin, none.end);
  EXPECT_TRUE(requests->is_output_gone());
}

TEST_F(Requests, AreNotTakenWithAClosedOutput) {
  output_.writer.reset();
  RequestSource requests(input_.reader->number(), 1000, {1000, 1000}, [] { return false; });
  EXPECT_THROW(requests.next(), StorageError);
}

TEST_F(Requests, EndWhenTheyAreClosed) {
  const auto requests = source();
  auto next = std::async(std::launch::async, [&] { return requests->next(); });
  requests->close();
  const auto none = next.get();
  EXPECT_EQ(none.begin, none.end);
}

TEST_F(Requests, ThatCannotBeReadAreAStorageError) {
  RequestSource requests(input_.writer->number(), output_.writer->number(), {1000, 10},
                         [] { return false; });
  // The writing end of a pipe is readable for poll() when its reader is gone, and not for read().
  input_.reader.reset();
  EXPECT_THROW((void)requests.next(), StorageError);
}

}  // namespace
}  // namespace w2vbert::tool::testing
