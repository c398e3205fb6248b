// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/closed_loop.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "tools/bench_cc/load.h"
#include "tools/bench_cc/random_steps.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

constexpr int kPoolSize = 1024;
constexpr std::uint64_t kSeed = 2;
constexpr std::chrono::seconds kSetUpTimeout{60};

absl::Status ToStatus(const grpc::Status& status, absl::string_view call) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(call, ": ", status.error_message()));
}

void SetTimeout(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + kSetUpTimeout);
  context->set_wait_for_ready(true);
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  // A connection of its own, not one shared by channels with equal arguments.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// Part `i` of `n` parts of about equal size.
absl::Span<SimulatedActor> Part(absl::Span<SimulatedActor> all, int i, int n) {
  const std::size_t begin =
      all.size() * static_cast<std::size_t>(i) / static_cast<std::size_t>(n);
  const std::size_t end = all.size() * static_cast<std::size_t>(i + 1) /
                          static_cast<std::size_t>(n);
  return all.subspan(begin, end - begin);
}

class GrpcClosedLoop final : public ClosedLoop {
 public:
  explicit GrpcClosedLoop(const ClosedLoopOptions& options)
      : options_(options),
        actors_(static_cast<std::size_t>(options.num_actors)) {}
  ~GrpcClosedLoop() override;
  GrpcClosedLoop(const GrpcClosedLoop&) = delete;
  GrpcClosedLoop& operator=(const GrpcClosedLoop&) = delete;

  absl::Status SetUp();

  const std::string& server_version() const override {
    return description_.server_version();
  }
  const std::string& summary() const override { return description_.summary(); }
  absl::StatusOr<ClosedLoopResult> Run(const Window& window) override;

 private:
  absl::Status Describe();
  absl::Status Reset(const SimulatedActor& actor);
  absl::Status StartEpisode(SimulatedActor* actor, int position);
  int num_threads() const {
    return std::min(options_.num_threads, options_.num_connections);
  }
  // The loads of one thread: a connection's share of the actors each.
  std::unique_ptr<Load> MakeLoad(Lane* lane, int thread);
  void AddLoads(Lane* lane, Stub* stub, absl::Span<SimulatedActor> actors,
                std::vector<std::unique_ptr<Load>>* loads) const;

  ClosedLoopOptions options_;
  std::vector<SimulatedActor> actors_;
  std::vector<std::unique_ptr<Stub>> stubs_;  // one per connection
  v1::DescribeResponse description_;
  std::unique_ptr<const RandomSteps> steps_;
};

absl::Status GrpcClosedLoop::SetUp() {
  options_.num_connections =
      std::min(options_.num_connections, options_.num_actors);
  for (int i = 0; i < options_.num_connections; ++i) {
    stubs_.push_back(v1::PolicyService::NewStub(Connect(options_.target)));
  }
  absl::Status status = Describe();
  // Different from those of every other loop of this process.
  static std::atomic<int> num_loops{0};
  const int loop = num_loops++;
  for (int i = 0; i < options_.num_actors && status.ok(); ++i) {
    SimulatedActor& actor = actors_[static_cast<std::size_t>(i)];
    actor.id = absl::StrCat("bench-", loop, "-", i);
    actor.next_step = std::int64_t{i} * options_.episode_steps;
    status =
        StartEpisode(&actor, i * options_.episode_steps / options_.num_actors);
  }
  return status;
}

absl::Status GrpcClosedLoop::Describe() {
  grpc::ClientContext context;
  SetTimeout(&context);
  const grpc::Status status =
      stubs_.front()->Describe(&context, {}, &description_);
  if (!status.ok()) return ToStatus(status, "Describe");
  auto fields = FieldsOf(description_);
  if (!fields.ok()) return fields.status();
  steps_ =
      std::make_unique<const RandomSteps>(*std::move(fields), kPoolSize, kSeed);
  return absl::OkStatus();
}

absl::Status GrpcClosedLoop::Reset(const SimulatedActor& actor) {
  grpc::ClientContext context;
  SetTimeout(&context);
  v1::ResetRequest request;
  v1::ResetResponse response;
  request.set_actor_id(actor.id);
  return ToStatus(stubs_.front()->Reset(&context, request, &response), "Reset");
}

// An empty session for the actor, and then its first `position` steps in one.
absl::Status GrpcClosedLoop::StartEpisode(SimulatedActor* actor, int position) {
  absl::Status status = Reset(*actor);
  if (!status.ok() || position == 0) return status;
  grpc::ClientContext context;
  SetTimeout(&context);
  v1::StepRequest request;
  v1::StepResponse response;
  request.set_actor_id(actor->id);
  std::vector<std::int64_t> rows;
  while (static_cast<int>(rows.size()) < position) {
    rows.push_back(actor->next_step++);
  }
  StartInputs(*steps_, position, request.mutable_inputs());
  SetRows(*steps_, rows, request.mutable_inputs());
  status = ToStatus(stubs_.front()->Step(&context, request, &response), "Step");
  actor->step_index = response.step_index();
  return status;
}

GrpcClosedLoop::~GrpcClosedLoop() {
  for (const SimulatedActor& actor : actors_) {
    if (actor.id.empty() || !Reset(actor).ok()) return;
  }
}

void GrpcClosedLoop::AddLoads(Lane* lane, Stub* stub,
                              absl::Span<SimulatedActor> actors,
                              std::vector<std::unique_ptr<Load>>* loads) const {
  switch (options_.mode) {
    case Mode::kUnary:
      loads->push_back(MakeUnaryLoad(lane, stub, actors));
      return;
    case Mode::kStream:
      loads->push_back(
          MakeStreamLoad(lane, stub, actors,
                         std::max<std::size_t>(
                             1, description_.limits().max_actors_per_batch())));
      return;
    case Mode::kOpen:
      loads->push_back(MakeOpenLoad(lane, stub, actors,
                                    options_.steps_per_second *
                                        static_cast<double>(actors.size()) /
                                        static_cast<double>(actors_.size())));
      return;
    case Mode::kBatch:
      const int size = static_cast<int>(actors.size());
      const int num_batches =
          (size + options_.rows_per_batch - 1) / options_.rows_per_batch;
      for (int i = 0; i < num_batches; ++i) {
        loads->push_back(
            MakeBatchLoad(lane, stub, Part(actors, i, num_batches)));
      }
  }
}

std::unique_ptr<Load> GrpcClosedLoop::MakeLoad(Lane* lane, int thread) {
  std::vector<std::unique_ptr<Load>> loads;
  const int num_connections = options_.num_connections;
  for (int i = thread; i < num_connections; i += num_threads()) {
    AddLoads(lane, stubs_[static_cast<std::size_t>(i)].get(),
             Part(absl::MakeSpan(actors_), i, num_connections), &loads);
  }
  return MakeCombinedLoad(std::move(loads));
}

absl::StatusOr<ClosedLoopResult> GrpcClosedLoop::Run(const Window& window) {
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<std::unique_ptr<Load>> loads;
  std::vector<absl::Status> statuses(static_cast<std::size_t>(num_threads()));
  for (int i = 0; i < num_threads(); ++i) {
    lanes.push_back(std::make_unique<Lane>(
        steps_.get(), static_cast<std::uint64_t>(options_.episode_steps)));
    loads.push_back(MakeLoad(lanes.back().get(), i));
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    threads.emplace_back(
        [&, i] { statuses[i] = lanes[i]->Run(window, loads[i].get()); });
  }
  for (std::thread& thread : threads) thread.join();

  ClosedLoopResult result;
  std::int64_t num_steps = 0;
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if (!statuses[i].ok()) return statuses[i];
    Lane::Measured measured = lanes[i]->TakeMeasured();
    num_steps += measured.num_steps;
    result.latencies.insert(result.latencies.end(), measured.latencies.begin(),
                            measured.latencies.end());
  }
  std::sort(result.latencies.begin(), result.latencies.end());
  result.steps_per_second =
      static_cast<double>(num_steps) /
      std::chrono::duration<double>(window.end - window.begin).count();
  return result;
}

}  // namespace

absl::string_view Name(Mode mode) {
  switch (mode) {
    case Mode::kUnary:
      return "unary";
    case Mode::kStream:
      return "stream";
    case Mode::kBatch:
      return "batch";
    case Mode::kOpen:
      return "open";
  }
  return "";
}

absl::StatusOr<Mode> FindMode(absl::string_view name) {
  for (const Mode mode :
       {Mode::kUnary, Mode::kStream, Mode::kBatch, Mode::kOpen}) {
    if (Name(mode) == name) return mode;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "mode: got \"", name, "\", want unary, stream, batch or open"));
}

absl::StatusOr<std::unique_ptr<ClosedLoop>> ClosedLoop::Create(
    const ClosedLoopOptions& options) {
  auto loop = std::make_unique<GrpcClosedLoop>(options);
  const absl::Status status = loop->SetUp();
  if (!status.ok()) return status;
  return loop;
}

}  // namespace stepd::bench
