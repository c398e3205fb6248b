// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One thread of the load generator: a completion queue, the simulated actors
// whose calls complete on it, and what was measured. Lanes share nothing that
// changes, so that the generator takes little of the cores it shares with the
// server.
//
// How the actors call is a Load: unary_load.h, stream_load.h, batch_load.h.
//
// Thread safety: none; the thread that runs it.

#ifndef STEPD_TOOLS_BENCH_CC_LANE_H_
#define STEPD_TOOLS_BENCH_CC_LANE_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/bench_cc/random_steps.h"

namespace stepd::bench {

using LoadClock = std::chrono::steady_clock;
using LoadTime = LoadClock::time_point;

// What is sent until `end`; what is answered from `begin` on, before `end`, is
// counted.
struct Window {
  LoadTime begin;
  LoadTime end;
};

// An actor in its environment: it sends one step at a time and starts over
// after every episode.
struct SimulatedActor {
  std::string id;
  std::int64_t next_step = 0;    // of the pool
  std::uint64_t step_index = 0;  // of its session, as the server says
};

// What waits for a completion.
class LaneEvent {
 public:
  virtual ~LaneEvent() = default;
  // `ok` is what the completion queue says.
  virtual void OnEvent(bool ok) = 0;
};

// How the actors of a lane call.
class Load {
 public:
  virtual ~Load() = default;
  // Sends the first steps.
  virtual void Start() = 0;
  // No completion is ready at the moment.
  virtual void OnQuiet() {}
};

class Lane {
 public:
  struct Measured {
    std::int64_t num_steps = 0;
    std::vector<float> latencies;  // seconds; one per call
  };

  Lane(const RandomSteps* steps, std::uint64_t episode_steps)
      : steps_(*steps), episode_steps_(episode_steps) {}
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Returns when the window is over and every call has been answered.
  // Errors: the first failure of a call
  absl::Status Run(const Window& window, Load* load);
  Measured TakeMeasured() { return std::move(measured_); }

  // For loads.
  grpc::CompletionQueue* queue() { return &queue_; }
  const RandomSteps& steps() const { return steps_; }
  bool IsEpisodeOver(const SimulatedActor& actor) const {
    return actor.step_index >= episode_steps_;
  }
  // The tag of an operation that is about to be started.
  void* Tag(LaneEvent* event) {
    ++num_pending_;
    return event;
  }
  // Whether the load goes on.
  bool IsOpen() const { return is_open_; }
  // A call of `num_steps` steps that was sent at `sent` is answered.
  void Record(LoadTime sent, std::int64_t num_steps);
  void Fail(absl::Status status);
  // True if `status` is good; else fails.
  bool Check(const grpc::Status& status, absl::string_view call);

 private:
  void Dispatch(void* tag, bool ok);

  const RandomSteps& steps_;
  const std::uint64_t episode_steps_;
  grpc::CompletionQueue queue_;
  Window window_;
  bool is_open_ = true;
  std::int64_t num_pending_ = 0;
  absl::Status status_;
  Measured measured_;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_LANE_H_
