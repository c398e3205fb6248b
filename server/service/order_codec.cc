// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/order_codec.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/common/error.h"
#include "server/service/invalid.h"

namespace stepd {
namespace {

// Wire columns of one entry per actor may be left out.
template <typename Column>
absl::Status CheckColumn(const Column& column, int num_actors,
                         absl::string_view field) {
  if (column.empty() || column.size() == num_actors) return absl::OkStatus();
  return Invalid(reason::kFieldShape, field,
                 absl::StrCat(column.size(), " entries"),
                 absl::StrCat(num_actors, ", one per actor, or none"));
}

absl::StatusOr<Boundary> DecodeBoundary(int boundary) {
  switch (boundary) {
    case v1::BOUNDARY_NONE:
      return Boundary::kNone;
    case v1::BOUNDARY_EPISODE:
      return Boundary::kEpisode;
    case v1::BOUNDARY_TASK:
      return Boundary::kTask;
    default:
      return Invalid(reason::kFieldRange, "boundary", absl::StrCat(boundary),
                     "0 (none), 1 (episode) or 2 (task)");
  }
}

}  // namespace

absl::Status DecodeOrder(const v1::StepRequest& request, StepTask* task) {
  if (request.has_step_index()) task->step_index = request.step_index();
  if (request.has_epoch()) task->epoch = request.epoch();
  const auto boundary = DecodeBoundary(request.boundary());
  if (boundary.ok()) task->boundary = *boundary;
  return boundary.status();
}

absl::Status CheckOrderColumns(const v1::StepBatchRequest& request) {
  const int n = request.actor_ids_size();
  absl::Status status = CheckColumn(request.step_indices(), n, "step_indices");
  status.Update(CheckColumn(request.epochs(), n, "epochs"));
  status.Update(CheckColumn(request.boundaries(), n, "boundaries"));
  return status;
}

absl::Status DecodeOrder(const v1::StepBatchRequest& request, int row,
                         StepTask* task) {
  if (!request.step_indices().empty()) {
    task->step_index = request.step_indices(row);
  }
  if (!request.epochs().empty()) task->epoch = request.epochs(row);
  if (request.boundaries().empty()) return absl::OkStatus();
  const auto boundary = DecodeBoundary(request.boundaries(row));
  if (boundary.ok()) task->boundary = *boundary;
  return boundary.status();
}

v1::Boundary ToWire(Boundary boundary) {
  switch (boundary) {
    case Boundary::kNone:
      return v1::BOUNDARY_NONE;
    case Boundary::kEpisode:
      return v1::BOUNDARY_EPISODE;
    case Boundary::kTask:
      return v1::BOUNDARY_TASK;
  }
  return v1::BOUNDARY_NONE;
}

v1::ServedFrom ToWire(ServedFrom served_from) {
  switch (served_from) {
    case ServedFrom::kNew:
      return v1::SERVED_FROM_NEW;
    case ServedFrom::kCache:
      return v1::SERVED_FROM_CACHE;
    case ServedFrom::kLog:
      return v1::SERVED_FROM_LOG;
    case ServedFrom::kJournal:
      return v1::SERVED_FROM_JOURNAL;
  }
  return v1::SERVED_FROM_UNSPECIFIED;
}

}  // namespace stepd
