// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/lane.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace stepd::bench {

Lane::~Lane() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

absl::Status Lane::Run(const Window& window, Load* load) {
  window_ = window;
  load->Start();
  const gpr_timespec no_wait = gpr_time_0(GPR_CLOCK_REALTIME);
  void* tag = nullptr;
  bool ok = false;
  while (num_pending_ > 0) {
    const auto next = queue_.AsyncNext(&tag, &ok, no_wait);
    if (next == grpc::CompletionQueue::GOT_EVENT) {
      Dispatch(tag, ok);
      continue;
    }
    load->OnQuiet();
    if (num_pending_ > 0 && queue_.Next(&tag, &ok)) Dispatch(tag, ok);
  }
  return status_;
}

void Lane::Dispatch(void* tag, bool ok) {
  --num_pending_;
  static_cast<LaneEvent*>(tag)->OnEvent(ok);
}

void Lane::Record(LoadTime sent, std::int64_t num_steps) {
  const LoadTime now = LoadClock::now();
  if (now >= window_.end) {
    is_open_ = false;
    return;
  }
  if (now < window_.begin) return;
  measured_.num_steps += num_steps;
  measured_.latencies.push_back(
      std::chrono::duration<float>(now - sent).count());
}

void Lane::Fail(absl::Status status) {
  is_open_ = false;
  if (status_.ok()) status_ = std::move(status);
}

bool Lane::Check(const grpc::Status& status, absl::string_view call) {
  if (status.ok()) return true;
  Fail(absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                    absl::StrCat(call, ": ", status.error_message())));
  return false;
}

}  // namespace stepd::bench
