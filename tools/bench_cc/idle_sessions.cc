// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/idle_sessions.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "tools/bench_cc/random_steps.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

constexpr int kRowsPerCall = 256;
constexpr int kPoolSize = 1024;
constexpr std::uint64_t kSeed = 5;

using Stub = v1::PolicyService::Stub;

std::unique_ptr<Stub> Connect(const std::string& target) {
  return v1::PolicyService::NewStub(
      grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

absl::StatusOr<std::vector<FieldSpec>> Describe(Stub* stub) {
  grpc::ClientContext context;
  v1::DescribeResponse description;
  const grpc::Status status = stub->Describe(&context, {}, &description);
  if (!status.ok()) return ToStatus(status);
  return FieldsOf(description);
}

absl::Status OpenSome(Stub* stub, const RandomSteps& steps, int begin,
                      int end) {
  grpc::ClientContext context;
  v1::StepBatchRequest request;
  v1::StepBatchResponse response;
  std::vector<std::int64_t> rows;
  for (int i = begin; i < end; ++i) {
    request.add_actor_ids(absl::StrCat("idle-", i));
    rows.push_back(i);
  }
  StartInputs(steps, end - begin, request.mutable_inputs());
  SetRows(steps, rows, request.mutable_inputs());
  const grpc::Status status = stub->StepBatch(&context, request, &response);
  if (!status.ok()) return ToStatus(status);
  if (response.errors_size() == 0) return absl::OkStatus();
  return absl::UnavailableError(response.errors(0).status().message());
}

}  // namespace

absl::Status OpenIdleSessions(const std::string& target, int begin, int end) {
  const std::unique_ptr<Stub> stub = Connect(target);
  auto fields = Describe(stub.get());
  if (!fields.ok()) return fields.status();
  const RandomSteps steps(*std::move(fields), kPoolSize, kSeed);
  absl::Status status;
  for (int i = begin; i < end && status.ok(); i += kRowsPerCall) {
    status = OpenSome(stub.get(), steps, i, std::min(end, i + kRowsPerCall));
  }
  return status;
}

absl::StatusOr<std::int64_t> StepBytes(const std::string& target) {
  auto fields = Describe(Connect(target).get());
  if (!fields.ok()) return fields.status();
  const RandomSteps steps(*std::move(fields), 1, kSeed);
  return static_cast<std::int64_t>(steps.Encode(0).size());
}

}  // namespace stepd::bench
