// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/policy_service.h"

#include <google/protobuf/arena.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/observe/log.h"
#include "server/service/call_log.h"
#include "server/service/message_bytes.h"
#include "server/service/pending_call.h"
#include "server/service/status_codec.h"
#include "server/service/step_stream.h"

namespace stepd {
namespace {

// The calls that are open, for a drain that waits for the last one.
//
// Thread safety: thread-safe.
class OpenCalls {
 public:
  void Add() { count_.fetch_add(1, std::memory_order_relaxed); }
  void Remove() {
    // The lock is taken once per burst of calls, so that a waiter cannot miss
    // the last one.
    if (count_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    MutexLock lock(&mu_);
    none_.NotifyAll();
  }
  // False: some are left after `timeout`.
  bool WaitForNone(absl::Duration timeout) {
    const MonotonicTime until = Clock::Real()->Now() + ToMonotonic(timeout);
    MutexLock lock(&mu_);
    while (count_.load(std::memory_order_acquire) > 0) {
      if (!none_.WaitUntil(&mu_, until)) break;
    }
    return count_.load(std::memory_order_acquire) == 0;
  }

 private:
  std::atomic<std::int64_t> count_{0};
  Mutex mu_;
  CondVar none_;
};

// A unary RPC with its messages in an arena. Deletes itself when gRPC is done
// with it.
template <typename Request, typename Response>
class UnaryCall final : public grpc::ServerUnaryReactor, public PendingCall {
 public:
  // `context` outlives the call.
  UnaryCall(OpenCalls* calls, const grpc::CallbackServerContext& context,
            MonotonicTime deadline, grpc::ByteBuffer* reply)
      : PendingCall(deadline, std::make_shared<std::atomic<bool>>(false)),
        calls_(calls),
        context_(context),
        reply_(reply) {
    calls_->Add();
  }

  // Errors: kInvalidArgument  MESSAGE
  absl::Status Parse(const grpc::ByteBuffer& bytes) {
    return ParseMessage(bytes, request_);
  }
  const Request& request() const { return *request_; }
  Response* response() { return response_; }

  void Complete(const absl::Status& status) override {
    if (status.ok()) {
      SerializeMessage(*response_, reply_);
    } else if (IsFailureLogged(status)) {
      LogFailedCall(request_->GetTypeName(), RequestIdOf(context_), status);
    }
    Finish(ToGrpcStatus(status));
  }
  void OnCancel() override {
    is_cancelled()->store(true, std::memory_order_relaxed);
  }
  void OnDone() override {
    OpenCalls* calls = calls_;
    delete this;
    calls->Remove();
  }

 private:
  OpenCalls* const calls_;
  const grpc::CallbackServerContext& context_;
  grpc::ByteBuffer* const reply_;
  google::protobuf::Arena arena_;
  Request* const request_ =
      google::protobuf::Arena::CreateMessage<Request>(&arena_);
  Response* const response_ =
      google::protobuf::Arena::CreateMessage<Response>(&arena_);
};

// The generated service, with the bytes of what comes often in our hands.
using GrpcService = v1::PolicyService::WithRawCallbackMethod_Step<
    v1::PolicyService::WithRawCallbackMethod_StepBatch<
        v1::PolicyService::WithRawCallbackMethod_StepStream<
            v1::PolicyService::WithRawCallbackMethod_Reset<
                v1::PolicyService::WithRawCallbackMethod_Evaluate<
                    v1::PolicyService::WithCallbackMethod_Describe<
                        v1::PolicyService::Service>>>>>>;

class CallbackPolicyService final : public PolicyService,
                                    public GrpcService,
                                    public StreamOwner {
 public:
  CallbackPolicyService(Engine* engine, const PolicyServiceOptions& options,
                        Observer* observer, const Clock* clock)
      : engine_(engine),
        options_(options),
        observer_(observer),
        clock_(clock),
        codec_(&engine->input_rules(), options.codec) {}

  const char* name() const override {
    return v1::PolicyService::service_full_name();
  }
  grpc::Service* grpc_service() override { return this; }
  bool Drain(absl::Duration timeout) override ABSL_LOCKS_EXCLUDED(mu_);

  grpc::ServerUnaryReactor* Step(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* StepBatch(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StepStream(
      grpc::CallbackServerContext* context) override ABSL_LOCKS_EXCLUDED(mu_);
  grpc::ServerUnaryReactor* Reset(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Evaluate(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeResponse* response) override;

  void Answer(const v1::StepStreamRequest& request,
              v1::StepStreamResponse* response, PendingCall* call) override;
  void OnStreamDone(stepd::StepStream* stream) override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class BatchCall;

  // Parses a unary call's request and runs it.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Unary(const grpc::CallbackServerContext& context,
                                  const grpc::ByteBuffer& request,
                                  grpc::ByteBuffer* reply,
                                  void (CallbackPolicyService::*run)(
                                      const Request&, Response*, PendingCall*));

  void RunStep(const v1::StepRequest& request, v1::StepResponse* response,
               PendingCall* call);
  void RunStepBatch(const v1::StepBatchRequest& request,
                    v1::StepBatchResponse* response, PendingCall* call);
  void RunReset(const v1::ResetRequest& request, v1::ResetResponse* response,
                PendingCall* call);

  void RunEvaluate(const v1::EvaluateRequest& request,
                   v1::EvaluateResponse* response, PendingCall* call);

  // Counts an error that the engine has not seen.
  absl::Status Refused(absl::Status status);
  // What the client is told of an error: a failure of ours that the engine did
  // not report goes to the log, and the client gets the id to find it by.
  absl::Status Reported(absl::Status status);

  MonotonicTime DeadlineOf(const grpc::CallbackServerContext& context) const {
    return ToMonotonic(context.deadline(), *clock_);
  }

  Engine* const engine_;
  const PolicyServiceOptions options_;
  Observer* const observer_;
  const Clock* const clock_;
  const StepCodec codec_;
  OpenCalls calls_;

  Mutex mu_;
  absl::flat_hash_set<stepd::StepStream*> streams_ ABSL_GUARDED_BY(mu_);
  bool is_draining_ ABSL_GUARDED_BY(mu_) = false;
};

// ---- One actor --------------------------------------------------------------

void CallbackPolicyService::RunStep(const v1::StepRequest& request,
                                    v1::StepResponse* response,
                                    PendingCall* call) {
  absl::StatusOr<StepTask> task = codec_.DecodeStep(request);
  if (!task.ok()) return call->Complete(Refused(task.status()));
  task->deadline = call->deadline();
  task->is_cancelled = call->is_cancelled();
  task->stream = call->stream();
  task->done = [this, response, call](const absl::StatusOr<StepReply>& reply) {
    if (!reply.ok()) return call->Complete(Reported(reply.status()));
    codec_.EncodeStep(*reply, response);
    if (reply->is_followed) return call->CompleteFollowed();
    call->Complete(absl::OkStatus());
  };
  const absl::Status status = engine_->Submit(*std::move(task));
  if (!status.ok()) call->Complete(Refused(status));
}

void CallbackPolicyService::RunReset(const v1::ResetRequest& request,
                                     v1::ResetResponse* /*response*/,
                                     PendingCall* call) {
  absl::Status status = CheckActorId(request.actor_id());
  if (!status.ok()) return call->Complete(Refused(status));
  ResetTask task;
  task.actor_id = request.actor_id();
  if (request.has_epoch()) task.epoch = request.epoch();
  task.done = [this, call](const absl::Status& status) {
    call->Complete(Reported(status));
  };
  status = engine_->Submit(std::move(task));
  if (!status.ok()) call->Complete(Refused(status));
}

// ---- No actor ---------------------------------------------------------------

void CallbackPolicyService::RunEvaluate(const v1::EvaluateRequest& request,
                                        v1::EvaluateResponse* response,
                                        PendingCall* call) {
  absl::StatusOr<StepTask> task = codec_.DecodeEvaluate(request);
  if (!task.ok()) return call->Complete(Refused(task.status()));
  task->deadline = call->deadline();
  task->is_cancelled = call->is_cancelled();
  task->done = [this, response, call](const absl::StatusOr<StepReply>& reply) {
    if (!reply.ok()) return call->Complete(Reported(reply.status()));
    codec_.EncodeEvaluate(*reply, response);
    call->Complete(absl::OkStatus());
  };
  const absl::Status status = engine_->Submit(*std::move(task));
  if (!status.ok()) call->Complete(Refused(status));
}

// ---- Many actors ------------------------------------------------------------

// The rows of one StepBatch. Each row is done once, on any thread; the last
// one completes the call and deletes this.
class CallbackPolicyService::BatchCall {
 public:
  BatchCall(CallbackPolicyService* service, int num_rows,
            v1::StepBatchResponse* response, PendingCall* call)
      : service_(service),
        response_(response),
        call_(call),
        num_left_(num_rows),
        errors_(static_cast<std::size_t>(num_rows)) {}

  void OnReply(int row, const absl::StatusOr<StepReply>& reply) {
    if (!reply.ok()) return FailRow(row, service_->Reported(reply.status()));
    service_->codec_.EncodeRow(*reply, row, response_);
    EndRow();
  }

  void FailRow(int row, absl::Status status) {
    errors_[static_cast<std::size_t>(row)] = std::move(status);
    EndRow();
  }

 private:
  void EndRow() {
    // Every row's writes are visible to the thread that ends the last one.
    if (num_left_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    for (std::size_t row = 0; row < errors_.size(); ++row) {
      if (errors_[row].ok()) continue;
      v1::RowError* error = response_->add_errors();
      error->set_row(static_cast<std::uint32_t>(row));
      EncodeStatus(errors_[row], error->mutable_status());
    }
    for (const std::uint64_t version : response_->model_versions()) {
      response_->set_model_version(
          std::max<std::uint64_t>(response_->model_version(), version));
    }
    PendingCall* call = call_;
    delete this;
    call->Complete(absl::OkStatus());
  }

  CallbackPolicyService* const service_;
  v1::StepBatchResponse* const response_;
  PendingCall* const call_;
  std::atomic<int> num_left_;
  std::vector<absl::Status> errors_;  // by row
};

void CallbackPolicyService::RunStepBatch(const v1::StepBatchRequest& request,
                                         v1::StepBatchResponse* response,
                                         PendingCall* call) {
  auto tasks = codec_.DecodeStepBatch(request);
  if (!tasks.ok()) return call->Complete(Refused(tasks.status()));
  const int num_rows = static_cast<int>(tasks->size());
  OutputMask outputs = 0;
  for (const auto& task : *tasks) outputs |= task.ok() ? task->outputs : 0;
  codec_.StartStepBatch(num_rows, outputs, response);

  const MonotonicTime deadline = call->deadline();
  const std::shared_ptr<std::atomic<bool>> is_cancelled = call->is_cancelled();
  auto* batch = new BatchCall(this, num_rows, response, call);
  for (int row = 0; row < num_rows; ++row) {
    absl::StatusOr<StepTask>& task = (*tasks)[static_cast<std::size_t>(row)];
    if (!task.ok()) {
      batch->FailRow(row, Refused(task.status()));
      continue;
    }
    task->deadline = deadline;
    task->is_cancelled = is_cancelled;
    task->done = [batch, row](const absl::StatusOr<StepReply>& reply) {
      batch->OnReply(row, reply);
    };
    const absl::Status status = engine_->Submit(*std::move(task));
    if (!status.ok()) batch->FailRow(row, Refused(status));
  }
}

// ---- RPCs -------------------------------------------------------------------

template <typename Request, typename Response>
grpc::ServerUnaryReactor* CallbackPolicyService::Unary(
    const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
    grpc::ByteBuffer* reply,
    void (CallbackPolicyService::*run)(const Request&, Response*,
                                       PendingCall*)) {
  auto* call = new UnaryCall<Request, Response>(&calls_, context,
                                                DeadlineOf(context), reply);
  const absl::Status status = call->Parse(request);
  if (status.ok()) {
    (this->*run)(call->request(), call->response(), call);
  } else {
    call->Complete(Refused(status));
  }
  return call;
}

grpc::ServerUnaryReactor* CallbackPolicyService::Step(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return Unary(*context, *request, response, &CallbackPolicyService::RunStep);
}

grpc::ServerUnaryReactor* CallbackPolicyService::StepBatch(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return Unary(*context, *request, response,
               &CallbackPolicyService::RunStepBatch);
}

grpc::ServerUnaryReactor* CallbackPolicyService::Reset(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return Unary(*context, *request, response, &CallbackPolicyService::RunReset);
}

grpc::ServerUnaryReactor* CallbackPolicyService::Evaluate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return Unary(*context, *request, response,
               &CallbackPolicyService::RunEvaluate);
}

grpc::ServerUnaryReactor* CallbackPolicyService::Describe(
    grpc::CallbackServerContext* context,
    const v1::DescribeRequest* /*request*/, v1::DescribeResponse* response) {
  codec_.DescribePolicy(response);
  response->set_model_version(engine_->stable_version());
  response->set_server_version(options_.server_version);
  const auto size = [](std::int64_t x) {
    return static_cast<std::uint64_t>(x);
  };
  v1::Limits* limits = response->mutable_limits();
  limits->set_max_message_bytes(size(options_.max_message_bytes));
  limits->set_max_steps_per_call(size(options_.codec.max_steps_per_call));
  limits->set_max_actors_per_batch(size(options_.codec.max_actors_per_batch));
  limits->set_max_sessions(size(options_.max_sessions));
  limits->set_max_steps_per_session(size(options_.max_steps_per_session));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
CallbackPolicyService::StepStream(grpc::CallbackServerContext* context) {
  auto* stream = new stepd::StepStream(
      this, {DeadlineOf(*context), options_.max_in_flight_per_stream,
             options_.codec.max_actors_per_batch, RequestIdOf(*context)});
  calls_.Add();
  {
    MutexLock lock(&mu_);
    streams_.insert(stream);
    if (is_draining_) stream->Drain();
  }
  stream->Start();
  return stream;
}

void CallbackPolicyService::Answer(const v1::StepStreamRequest& request,
                                   v1::StepStreamResponse* response,
                                   PendingCall* call) {
  switch (request.request_case()) {
    case v1::StepStreamRequest::kStep:
      return RunStep(request.step(), response->mutable_step(), call);
    case v1::StepStreamRequest::kStepBatch:
      return RunStepBatch(request.step_batch(), response->mutable_step_batch(),
                          call);
    case v1::StepStreamRequest::kReset:
      return RunReset(request.reset(), response->mutable_reset(), call);
    case v1::StepStreamRequest::kSeveral:  // within several
    case v1::StepStreamRequest::REQUEST_NOT_SET:
      break;
  }
  const char* got = request.has_several() ? "several within several"
                                          : "nothing this server knows";
  const char* want = "step, step_batch or reset";
  call->Complete(
      Refused(Error(absl::StatusCode::kInvalidArgument, reason::kFieldMissing,
                    absl::StrCat("request: got ", got, ", want ", want),
                    {{"field", "request"}, {"got", got}, {"want", want}})));
}

void CallbackPolicyService::OnStreamDone(stepd::StepStream* stream) {
  {
    MutexLock lock(&mu_);
    streams_.erase(stream);
  }
  calls_.Remove();
}

bool CallbackPolicyService::Drain(absl::Duration timeout) {
  {
    // A stream that finishes here is deleted by another thread, which first
    // takes this lock in OnStreamDone().
    MutexLock lock(&mu_);
    is_draining_ = true;
    for (stepd::StepStream* stream : streams_) stream->Drain();
  }
  return calls_.WaitForNone(timeout);
}

// ---- Errors -----------------------------------------------------------------

absl::Status CallbackPolicyService::Refused(absl::Status status) {
  observer_->OnError(ReasonOf(status));
  return status;
}

absl::Status CallbackPolicyService::Reported(absl::Status status) {
  const bool is_told = !ReasonOf(status).empty();
  if (status.code() != absl::StatusCode::kInternal || is_told) return status;
  const std::string id = NewErrorId();
  Log(LogLevel::kError, "a call failed",
      {{"error_id", id}, {"error", std::string(status.message())}});
  return Error(absl::StatusCode::kInternal, reason::kInternal,
               absl::StrCat("internal error; the server's log has it as ", id),
               {{"error_id", id}});
}

}  // namespace

std::unique_ptr<PolicyService> PolicyService::Create(
    Engine* engine, const PolicyServiceOptions& options, Observer* observer,
    const Clock* clock) {
  return std::make_unique<CallbackPolicyService>(engine, options, observer,
                                                 clock);
}

}  // namespace stepd
