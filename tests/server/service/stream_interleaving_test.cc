// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// StepStream under every order in which its world may act: reads and writes
// complete, requests are answered, the client cancels, the server drains. No
// connection: a fake transport holds what was started until the test, from one
// thread or from many, lets it complete. (The thread sanitizer cannot see
// through the distribution's gRPC, but it sees all of this.)

#include <grpcpp/support/server_callback.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/mutex.h"
#include "server/service/message_bytes.h"
#include "server/service/step_stream.h"

namespace stepd {
namespace {

// What happens in one run.
struct Plan {
  int num_requests = 6;
  int max_in_flight = 3;
  bool may_cancel = false;
  bool may_drain = false;
  bool may_answer_inline = false;
  bool has_bad_request = false;  // the last one
  int requests_per_message = 1;
  bool has_threads = false;
};

// The transport under one stream, the owner above it, and everything that can
// happen next. Run() lets one of those things happen.
class World : public grpc::ServerCallbackReaderWriter<grpc::ByteBuffer,
                                                      grpc::ByteBuffer>,
              public StreamOwner {
 public:
  World(const Plan& plan, std::uint64_t seed) : plan_(plan), random_(seed) {
    stream_ =
        new StepStream(this, {kInfiniteFuture, plan.max_in_flight, 3, "test"});
    BindReactor(stream_);
    stream_->Start();
  }

  // Lets one thing happen, by chance. False: nothing can happen now.
  bool Run() ABSL_LOCKS_EXCLUDED(mu_) {
    std::function<void()> event;
    {
      MutexLock lock(&mu_);
      event = Choose();
      if (event == nullptr) return false;
      ++num_running_;
    }
    event();
    bool is_done = false;
    {
      MutexLock lock(&mu_);
      --num_running_;
      is_done = ShouldBeDone();
      is_done_called_ = is_done_called_ || is_done;
    }
    if (is_done) stream_->OnDone();
    return true;
  }

  bool is_gone() const { return is_gone_.load(); }
  bool is_running() const {
    MutexLock lock(&mu_);
    return num_running_ > 0;
  }

  // After the end: what went wrong.
  std::vector<std::string> Check() const {
    MutexLock lock(&mu_);
    std::vector<std::string> faults = faults_;
    const bool was_cut = is_cancelled_ || is_draining_;
    if (!is_finished_) faults.push_back("not finished");
    if (max_seen_in_flight_ >=
        plan_.max_in_flight + plan_.requests_per_message) {
      faults.push_back("read beyond its bound");
    }
    if (!is_cancelled_ && num_written_ != num_taken_) {
      faults.push_back(
          absl::StrCat("answered ", num_written_, " of ", num_taken_));
    }
    if (was_cut) return faults;
    if (num_taken_ != num_good_requests()) faults.push_back("lost a request");
    if (status_.ok() == plan_.has_bad_request) {
      faults.push_back("wrong final status");
    }
    return faults;
  }

 private:
  int num_good_requests() const {
    return plan_.num_requests - (plan_.has_bad_request ? 1 : 0);
  }

  // ---- What the stream calls ------------------------------------------------

  void Answer(const v1::StepStreamRequest& request,
              v1::StepStreamResponse* /*response*/,
              PendingCall* call) override {
    bool is_inline = false;
    {
      MutexLock lock(&mu_);
      if (static_cast<int>(request.request_id()) != num_taken_) {
        faults_.push_back("out of order");
      }
      ++num_taken_;
      ++num_unanswered_;
      max_seen_in_flight_ =
          std::max(max_seen_in_flight_, num_taken_ - num_written_);
      is_inline = plan_.may_answer_inline && random_() % 2 == 0;
      if (is_inline) --num_unanswered_;
      if (!is_inline) calls_.push_back(call);
    }
    if (is_inline) call->Complete(absl::OkStatus());
  }
  void OnStreamDone(StepStream* /*stream*/) override { is_gone_ = true; }

  void Read(grpc::ByteBuffer* bytes) override {
    MutexLock lock(&mu_);
    if (read_ != nullptr) faults_.push_back("two reads");
    if (is_finished_) faults_.push_back("read after finish");
    read_ = bytes;
  }
  void Write(const grpc::ByteBuffer* bytes,
             grpc::WriteOptions /*options*/) override {
    v1::StepStreamResponse response;
    EXPECT_TRUE(ParseMessage(*bytes, &response).ok());
    const int num_answers =
        response.has_several() ? response.several().responses_size() : 1;
    MutexLock lock(&mu_);
    num_in_write_ = num_answers;
    const int num_ready = num_taken_ - num_unanswered_ - num_written_;
    if (num_answers > 1 && plan_.requests_per_message == 1) {
      faults_.push_back("answers together that nobody asked for");
    }
    if (!plan_.has_threads && plan_.requests_per_message > 1 &&
        num_answers != num_ready) {
      faults_.push_back("an answer that was ready stayed behind");
    }
    if (is_writing_) faults_.push_back("two writes");
    if (is_finished_) faults_.push_back("write after finish");
    is_writing_ = true;
  }
  void Finish(grpc::Status status) override {
    MutexLock lock(&mu_);
    if (is_finished_) faults_.push_back("finished twice");
    if (!calls_.empty()) faults_.push_back("finished with calls in flight");
    is_finished_ = true;
    status_ = std::move(status);
  }
  void WriteAndFinish(const grpc::ByteBuffer*, grpc::WriteOptions,
                      grpc::Status) override {
    FAIL();
  }
  void SendInitialMetadata() override {}
  void CallOnDone() override {}
  grpc::internal::ServerReactor* reactor() override { return stream_; }

  // ---- What can happen ------------------------------------------------------

  enum class Event { kRead, kWrite, kCall, kCancel, kDrain };

  std::vector<Event> Possible() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<Event> events;
    if (is_done_called_) return events;
    if (read_ != nullptr) events.push_back(Event::kRead);
    if (is_writing_) events.push_back(Event::kWrite);
    if (!calls_.empty()) events.push_back(Event::kCall);
    if (plan_.may_cancel && !is_cancelled_ && !is_finished_) {
      events.push_back(Event::kCancel);
    }
    if (plan_.may_drain && !is_draining_) events.push_back(Event::kDrain);
    return events;
  }
  // What to run, without the lock; null: nothing is possible.
  std::function<void()> Choose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::vector<Event> events = Possible();
    if (events.empty()) return nullptr;
    switch (events[random_() % events.size()]) {
      case Event::kRead:
        return EndRead();
      case Event::kWrite:
        return EndWrite();
      case Event::kCall:
        return EndCall();
      case Event::kCancel:
        return Cancel();
      case Event::kDrain:
        return StartDrain();
    }
    return nullptr;
  }
  std::function<void()> EndRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    grpc::ByteBuffer* bytes = std::exchange(read_, nullptr);
    const bool is_ok =
        num_sent_ < plan_.num_requests && !is_cancelled_ && !is_finished_;
    if (is_ok) {
      const bool is_bad =
          plan_.has_bad_request && num_sent_ == plan_.num_requests - 1;
      SerializeMessage(NextMessage(), bytes);
      const grpc::Slice torn("\xff\xff");
      if (is_bad) *bytes = grpc::ByteBuffer(&torn, 1);
    }
    return [this, is_ok] { stream_->OnReadDone(is_ok); };
  }
  v1::StepStreamRequest NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    v1::StepStreamRequest message;
    if (plan_.requests_per_message == 1) {
      message.set_request_id(static_cast<std::uint64_t>(num_sent_++));
      return message;
    }
    const int last = plan_.num_requests - (plan_.has_bad_request ? 1 : 0);
    for (int i = 0; i < plan_.requests_per_message; ++i) {
      // What is bad comes in a message of its own.
      if (i > 0 && num_sent_ >= last) break;
      message.mutable_several()->add_requests()->set_request_id(
          static_cast<std::uint64_t>(num_sent_++));
    }
    return message;
  }
  std::function<void()> EndWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    is_writing_ = false;
    const bool is_ok = !is_cancelled_;
    if (is_ok) num_written_ += num_in_write_;
    return [this, is_ok] { stream_->OnWriteDone(is_ok); };
  }
  std::function<void()> EndCall() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::size_t i = random_() % calls_.size();
    PendingCall* call = calls_[i];
    calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(i));
    const bool is_ok = random_() % 4 != 0;
    --num_unanswered_;
    if (!calls_.empty() && random_() % 2 == 0) {
      PendingCall* last = calls_.back();
      calls_.pop_back();
      --num_unanswered_;
      return [call, last] {
        call->CompleteFollowed();
        last->Complete(absl::OkStatus());
      };
    }
    return [call, is_ok] {
      call->Complete(is_ok ? absl::OkStatus() : absl::CancelledError("no"));
    };
  }
  std::function<void()> Cancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    is_cancelled_ = true;
    return [this] { stream_->OnCancel(); };
  }
  std::function<void()> StartDrain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    is_draining_ = true;
    return [this] { stream_->Drain(); };
  }

  // As gRPC does it: after Finish(), and after every other reaction.
  bool ShouldBeDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return is_finished_ && !is_done_called_ && num_running_ == 0 &&
           read_ == nullptr && !is_writing_;
  }

  const Plan plan_;
  StepStream* stream_;
  std::atomic<bool> is_gone_{false};

  mutable Mutex mu_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer* read_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::vector<PendingCall*> calls_ ABSL_GUARDED_BY(mu_);
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  bool is_cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool is_draining_ ABSL_GUARDED_BY(mu_) = false;
  bool is_finished_ ABSL_GUARDED_BY(mu_) = false;
  bool is_done_called_ ABSL_GUARDED_BY(mu_) = false;
  int num_running_ ABSL_GUARDED_BY(mu_) = 0;
  int num_sent_ ABSL_GUARDED_BY(mu_) = 0;
  int num_taken_ ABSL_GUARDED_BY(mu_) = 0;
  int num_unanswered_ ABSL_GUARDED_BY(mu_) = 0;
  int num_in_write_ ABSL_GUARDED_BY(mu_) = 0;
  int num_written_ ABSL_GUARDED_BY(mu_) = 0;
  int max_seen_in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> faults_ ABSL_GUARDED_BY(mu_);
};

Plan PlanOf(std::uint64_t seed) {
  Plan plan;
  plan.num_requests = static_cast<int>(seed % 8) + 1;
  plan.max_in_flight = static_cast<int>(seed / 8 % 3) + 1;
  plan.may_cancel = seed / 24 % 2 == 1;
  plan.may_drain = seed / 48 % 2 == 1;
  plan.may_answer_inline = seed / 96 % 2 == 1;
  plan.has_bad_request = seed / 192 % 2 == 1;
  plan.requests_per_message = static_cast<int>(seed / 384 % 3) + 1;
  return plan;
}

TEST(StreamInterleaving, HoldsItsInvariantsInEveryOrder) {
  for (std::uint64_t seed = 0; seed < 20000; ++seed) {
    World world(PlanOf(seed), seed);

    while (world.Run()) {
    }

    ASSERT_TRUE(world.is_gone()) << "stuck, seed " << seed;
    ASSERT_TRUE(world.Check().empty())
        << world.Check().front() << ", seed " << seed;
  }
}

TEST(StreamInterleaving, HoldsItsInvariantsAmongThreads) {
  for (std::uint64_t seed = 0; seed < 1200; ++seed) {
    Plan plan = PlanOf(seed);
    plan.has_threads = true;
    World world(plan, seed);

    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&world] {
        // Nothing can happen, and nothing runs that could change that: stuck.
        while (!world.is_gone()) {
          if (world.Run()) continue;
          const bool is_idle = !world.is_running();
          if (!world.Run() && is_idle) break;
          std::this_thread::yield();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();

    ASSERT_TRUE(world.is_gone()) << "stuck, seed " << seed;
    ASSERT_TRUE(world.Check().empty())
        << world.Check().front() << ", seed " << seed;
  }
}

}  // namespace
}  // namespace stepd
