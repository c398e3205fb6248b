// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/trajectory_codec.h"

#include <google/protobuf/repeated_field.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "proto/stepd/v1/trajectory_service.pb.h"
#include "server/service/order_codec.h"
#include "server/service/wire_dtype.h"

namespace stepd {
namespace {

// The values of one field, step by step.
//
// Thread safety: none.
class TensorWriter {
 public:
  // With `may_lack` a step may be without it whatever the field says. `field`
  // must outlive the writer.
  TensorWriter(const FieldSpec& field, bool may_lack)
      : field_(field),
        has_lengths_(may_lack || !field.required || field.is_ragged()) {
    tensor_.set_name(field.name);
    tensor_.set_dtype(ToWire(field.dtype));
    tensor_.add_shape(0);
    const auto first = field.shape.begin() + (field.is_ragged() ? 1 : 0);
    tensor_.mutable_shape()->Add(first, field.shape.end());
  }

  void Append(const FieldValue& value) {
    const std::int64_t length = value.count / field_.num_elements();
    if (has_lengths_) tensor_.add_lengths(static_cast<std::uint32_t>(length));
    tensor_.set_shape(0, tensor_.shape(0) + length);
    if (!value.is_present()) return;
    is_any_present_ = true;
    tensor_.mutable_data()->append(
        value.data,
        static_cast<std::size_t>(value.count * SizeOf(field_.dtype)));
  }

  // Does nothing if no step had the field.
  void MoveTo(google::protobuf::RepeatedPtrField<v1::Tensor>* tensors) {
    if (is_any_present_) *tensors->Add() = std::move(tensor_);
  }

 private:
  const FieldSpec& field_;
  const bool has_lengths_;
  bool is_any_present_ = false;
  v1::Tensor tensor_;
};

// A column for each field; `encoded` may be empty: then it has none of them.
class TensorWriters {
 public:
  TensorWriters(const std::vector<FieldSpec>& fields, const StepLayout& layout,
                bool may_lack)
      : layout_(layout), values_(fields.size()) {
    writers_.reserve(fields.size());
    for (const FieldSpec& field : fields) {
      writers_.emplace_back(field, may_lack);
    }
  }

  void Append(absl::string_view encoded) {
    std::fill(values_.begin(), values_.end(), FieldValue{});
    if (!encoded.empty()) {
      [[maybe_unused]] const bool is_whole =
          layout_.Decode(encoded, absl::MakeSpan(values_));
      assert(is_whole);
    }
    for (std::size_t i = 0; i < writers_.size(); ++i) {
      writers_[i].Append(values_[i]);
    }
  }

  void MoveTo(google::protobuf::RepeatedPtrField<v1::Tensor>* tensors) {
    for (TensorWriter& writer : writers_) writer.MoveTo(tensors);
  }

 private:
  const StepLayout& layout_;
  std::vector<FieldValue> values_;
  std::vector<TensorWriter> writers_;
};

}  // namespace

TrajectoryCodec::TrajectoryCodec(const PolicySpec& spec)
    : has_actions_(spec.num_actions > 0),
      fields_(spec.fields),
      session_fields_(spec.session_fields),
      layout_(fields_),
      session_layout_(session_fields_) {}

void TrajectoryCodec::Encode(
    absl::Span<const std::shared_ptr<const FinishedStep>> steps,
    v1::StreamTrajectoriesResponse* response) const {
  TensorWriters inputs(fields_, layout_, /*may_lack=*/false);
  TensorWriters session_inputs(session_fields_, session_layout_,
                               /*may_lack=*/true);
  for (const std::shared_ptr<const FinishedStep>& step : steps) {
    response->add_actor_ids(step->actor_id);
    response->add_epochs(step->epoch);
    response->add_step_indices(step->step_index);
    response->add_boundaries(ToWire(step->boundary));
    response->add_answered(step->is_answered);
    response->add_model_versions(step->model_version);
    if (has_actions_) {
      response->add_actions(step->action);
      response->add_log_probs(step->log_prob);
    }
    inputs.Append(step->inputs);
    session_inputs.Append(step->session_inputs);
  }
  inputs.MoveTo(response->mutable_inputs());
  session_inputs.MoveTo(response->mutable_session_inputs());
}

}  // namespace stepd
