// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/step_codec.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/engine/answer.h"
#include "server/service/field_columns.h"
#include "server/service/invalid.h"
#include "server/service/order_codec.h"
#include "server/service/sampling_codec.h"
#include "server/service/wire_dtype.h"

namespace stepd {
namespace {

constexpr std::size_t kMaxActorIdBytes = 256;

using Names = google::protobuf::RepeatedPtrField<std::string>;

absl::StatusOr<OutputMask> DecodeOutputs(const std::vector<OutputSpec>& outputs,
                                         const Names& names) {
  OutputMask mask = 0;
  for (const std::string& name : names) {
    const auto found =
        std::find_if(outputs.begin(), outputs.end(),
                     [&](const OutputSpec& o) { return o.name == name; });
    if (found == outputs.end()) {
      return Invalid(reason::kOutputUnknown, "outputs", Excerpt(name),
                     OneOf(outputs));
    }
    mask |= OutputMask{1} << (found - outputs.begin());
  }
  return mask;
}

// What a request says of sampling; what is absent costs nothing.
SamplingRows::Wire SamplingOf(const v1::StepRequest& request) {
  SamplingRows::Wire wire;
  wire.sampling = &request.sampling();
  if (request.has_action_mask()) wire.action_mask = &request.action_mask();
  return wire;
}

// The same of a request whose rows may differ.
template <typename Request>
SamplingRows::Wire SamplingOf(const Request& request) {
  SamplingRows::Wire wire;
  wire.sampling = &request.sampling();
  if (request.has_action_mask()) wire.action_mask = &request.action_mask();
  if (request.has_sampling_columns()) {
    wire.columns = &request.sampling_columns();
  }
  return wire;
}

absl::Status CheckActorIds(const Names& actor_ids, std::int64_t limit) {
  if (actor_ids.empty()) {
    return Invalid(reason::kActorId, "actor_ids", "none", "at least one");
  }
  if (actor_ids.size() > limit) {
    return Invalid(reason::kLimit, "actor_ids",
                   absl::StrCat(actor_ids.size(), " actors"),
                   absl::StrCat("at most ", limit));
  }
  absl::flat_hash_set<absl::string_view> seen;
  seen.reserve(static_cast<std::size_t>(actor_ids.size()));
  for (int row = 0; row < actor_ids.size(); ++row) {
    const absl::Status status = CheckActorId(actor_ids[row]);
    if (!status.ok()) return status;
    if (!seen.insert(actor_ids[row]).second) {
      return Invalid(reason::kActorId, "actor_ids",
                     absl::StrCat("row ", row, " repeats an actor"),
                     "all different");
    }
  }
  return absl::OkStatus();
}

// `num_rows` as FieldColumns has it.
absl::Status CheckSessionRows(std::int64_t num_rows, std::int64_t want_rows,
                              const std::string& want) {
  if (num_rows < 0 || num_rows == want_rows) return absl::OkStatus();
  return Invalid(reason::kFieldShape, "session_inputs",
                 absl::StrCat(num_rows, " rows"), want);
}

std::vector<FieldSpec> AllOptional(std::vector<FieldSpec> fields) {
  for (FieldSpec& field : fields) field.required = false;
  return fields;
}

void DescribeField(const FieldSpec& spec, v1::Field* field) {
  field->set_name(spec.name);
  field->set_dtype(ToWire(spec.dtype));
  for (const std::int64_t size : spec.shape) field->add_shape(size);
  if (spec.min) field->set_min(*spec.min);
  if (spec.max) field->set_max(*spec.max);
  field->set_required(spec.required);
  field->mutable_value_names()->Add(spec.value_names.begin(),
                                    spec.value_names.end());
  field->set_same_length_as(spec.same_length_as);
}

// An output tensor of `rows` rows without its data.
v1::Tensor* AddOutput(const OutputSpec& spec, std::int64_t rows,
                      google::protobuf::RepeatedPtrField<v1::Tensor>* out) {
  v1::Tensor* tensor = out->Add();
  tensor->set_name(spec.name);
  tensor->set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor->add_shape(rows);
  for (const std::int64_t size : spec.shape) tensor->add_shape(size);
  return tensor;
}

absl::Status DecodeKvPolicy(int wire, std::optional<KvPolicy>* kv_policy) {
  switch (wire) {
    case v1::KV_POLICY_UNSPECIFIED:
      return absl::OkStatus();
    case v1::KV_POLICY_PIN:
      *kv_policy = KvPolicy::kPin;
      return absl::OkStatus();
    case v1::KV_POLICY_KEEP:
      *kv_policy = KvPolicy::kKeep;
      return absl::OkStatus();
    case v1::KV_POLICY_RECOMPUTE:
      *kv_policy = KvPolicy::kRecompute;
      return absl::OkStatus();
    default:
      return Invalid(reason::kFieldRange, "kv_policy", absl::StrCat(wire),
                     "1 (pin), 2 (keep), 3 (recompute) or 0");
  }
}

// Of a step, or of all rows of a batch.
template <typename Request>
absl::StatusOr<VersionWish> DecodeVersionWish(const Request& request) {
  VersionWish wish;
  wish.min_version = request.min_model_version();
  wish.label = request.model_label();
  const absl::Status status =
      DecodeKvPolicy(request.kv_policy(), &wish.kv_policy);
  if (!status.ok()) return status;
  return wish;
}

}  // namespace

absl::Status CheckActorId(absl::string_view actor_id) {
  if (!actor_id.empty() && actor_id.size() <= kMaxActorIdBytes) {
    return absl::OkStatus();
  }
  return Invalid(reason::kActorId, "actor_id",
                 absl::StrCat(actor_id.size(), " bytes"),
                 absl::StrCat("1 to ", kMaxActorIdBytes, " bytes"));
}

StepCodec::StepCodec(const InputRules* rules, const StepCodecOptions& options)
    : rules_(rules),
      spec_(rules->spec()),
      layout_(spec_.fields),
      session_layout_(spec_.session_fields),
      outputs_(AnswerOutputs(spec_)),
      session_fields_(AllOptional(spec_.session_fields)),
      options_(options) {}

absl::Status StepCodec::EncodeStepRow(std::int64_t row, FieldColumns* columns,
                                      StepTask* task) const {
  const auto values = columns->Row(row);
  if (!values.ok()) return values.status();
  layout_.Encode(*values, task->steps.bytes());
  task->steps.EndStep();
  if (spec_.min_tokens_per_step == spec_.max_tokens_per_step) {
    task->num_tokens.push_back(spec_.min_tokens_per_step);
    return absl::OkStatus();
  }
  const absl::StatusOr<int> tokens =
      rules_->CountTokens(task->steps[task->steps.size() - 1]);
  if (!tokens.ok()) {
    return Invalid(reason::kFieldMissing, absl::StrCat("inputs, row ", row),
                   std::string(tokens.status().message()),
                   "a step of at least one token");
  }
  task->num_tokens.push_back(*tokens);
  return absl::OkStatus();
}

absl::Status StepCodec::EncodeSessionInputs(std::int64_t row,
                                            FieldColumns* columns,
                                            StepTask* task) const {
  if (columns->num_rows() < 0) return absl::OkStatus();
  const auto values = columns->Row(row);
  if (!values.ok()) return values.status();
  if (std::none_of(values->begin(), values->end(),
                   [](const FieldValue& v) { return v.is_present(); })) {
    return absl::OkStatus();
  }
  for (std::size_t i = 0; i < values->size(); ++i) {
    const FieldSpec& field = spec_.session_fields[i];
    if (field.required && !(*values)[i].is_present()) {
      return Invalid(reason::kFieldMissing, field.name,
                     absl::StrCat("nothing in row ", row),
                     "a value beside the other session inputs");
    }
  }
  session_layout_.Encode(*values, &task->session_inputs);
  const absl::Status status = rules_->CheckSessionInputs(task->session_inputs);
  if (status.ok()) return status;
  return Invalid(reason::kFieldRange, absl::StrCat("session_inputs, row ", row),
                 std::string(status.message()), "inputs of a session");
}

absl::Status StepCodec::EncodeSteps(const Tensors& inputs,
                                    const Tensors& session_inputs,
                                    std::int64_t max_steps,
                                    StepTask* task) const {
  FieldColumns columns(spec_.fields, options_.non_finite);
  absl::Status status = columns.Read(inputs);
  if (!status.ok()) return status;
  FieldColumns session_columns(session_fields_, options_.non_finite);
  status = session_columns.Read(session_inputs);
  if (!status.ok()) return status;
  if (columns.num_rows() < 1) {
    return Invalid(reason::kFieldShape, "inputs", "no step", "at least one");
  }
  if (columns.num_rows() > max_steps) {
    return Invalid(reason::kLimit, "inputs",
                   absl::StrCat(columns.num_rows(), " steps"),
                   absl::StrCat("at most ", max_steps));
  }
  status = CheckSessionRows(session_columns.num_rows(), 1, "1");
  if (status.ok()) status = EncodeSessionInputs(0, &session_columns, task);
  for (std::int64_t row = 0; status.ok() && row < columns.num_rows(); ++row) {
    status = EncodeStepRow(row, &columns, task);
  }
  return status;
}

absl::StatusOr<StepTask> StepCodec::DecodeStep(
    const v1::StepRequest& request) const {
  absl::Status status = CheckActorId(request.actor_id());
  if (!status.ok()) return status;
  const auto outputs = DecodeOutputs(outputs_, request.outputs());
  if (!outputs.ok()) return outputs.status();
  StepTask task;
  task.actor_id = request.actor_id();
  task.outputs = *outputs;
  task.answer_all_steps = request.answered_steps() == v1::ANSWERED_STEPS_ALL;
  task.answers_nothing = request.answered_steps() == v1::ANSWERED_STEPS_NONE;
  task.is_ephemeral = request.ephemeral();
  status = DecodeOrder(request, &task);
  if (!status.ok()) return status;
  status = EncodeSteps(request.inputs(), request.session_inputs(),
                       options_.max_steps_per_call, &task);
  if (!status.ok()) return status;
  std::int64_t num_answered = task.answers_nothing ? 0 : 1;
  if (task.answer_all_steps) {
    num_answered = static_cast<std::int64_t>(task.steps.size());
  }
  const auto sampling =
      SamplingRows::Create(spec_, SamplingOf(request), num_answered);
  if (!sampling.ok()) return sampling.status();
  for (std::int64_t row = 0; row < num_answered; ++row) {
    status = sampling->AppendTo(row, &task);
    if (!status.ok()) return status;
  }
  auto wish = DecodeVersionWish(request);
  if (!wish.ok()) return wish.status();
  task.version = *std::move(wish);
  return task;
}

absl::StatusOr<StepTask> StepCodec::DecodeEvaluate(
    const v1::EvaluateRequest& request) const {
  const auto outputs = DecodeOutputs(outputs_, request.outputs());
  if (!outputs.ok()) return outputs.status();
  StepTask task;
  task.outputs = *outputs;
  task.answer_all_steps = true;
  task.is_ephemeral = true;
  absl::Status status = EncodeSteps(request.inputs(), request.session_inputs(),
                                    options_.max_steps_per_evaluation, &task);
  if (!status.ok()) return status;
  const auto num_steps = static_cast<std::int64_t>(task.steps.size());
  status = CheckActions(request, num_steps);
  if (!status.ok()) return status;
  Evaluation evaluation;
  evaluation.actions.assign(request.actions().begin(), request.actions().end());
  const auto sampling =
      SamplingRows::Create(spec_, SamplingOf(request), num_steps);
  if (!sampling.ok()) return sampling.status();
  for (std::int64_t row = 0; row < num_steps; ++row) {
    status = sampling->AppendTo(row, &task);
    if (!status.ok()) return status;
    if (sampling->varies()) evaluation.sampling.push_back(task.sampling);
  }
  task.evaluation = std::make_unique<const Evaluation>(std::move(evaluation));
  return task;
}

absl::Status StepCodec::CheckActions(const v1::EvaluateRequest& request,
                                     std::int64_t num_steps) const {
  if (request.actions().empty()) return absl::OkStatus();
  if (request.actions_size() != num_steps) {
    return Invalid(reason::kFieldShape, "actions",
                   absl::StrCat(request.actions_size(), " entries"),
                   absl::StrCat(num_steps, ", one per step"));
  }
  for (const std::int64_t action : request.actions()) {
    if (action >= 0 && action < spec_.num_actions) continue;
    return Invalid(reason::kFieldRange, "actions", absl::StrCat(action),
                   absl::StrCat("0 to ", spec_.num_actions - 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<absl::StatusOr<StepTask>>>
StepCodec::DecodeStepBatch(const v1::StepBatchRequest& request) const {
  absl::Status status =
      CheckActorIds(request.actor_ids(), options_.max_actors_per_batch);
  if (!status.ok()) return status;
  const auto outputs = DecodeOutputs(outputs_, request.outputs());
  if (!outputs.ok()) return outputs.status();
  FieldColumns columns(spec_.fields, options_.non_finite);
  status = columns.Read(request.inputs());
  if (!status.ok()) return status;
  FieldColumns session_columns(session_fields_, options_.non_finite);
  status = session_columns.Read(request.session_inputs());
  if (!status.ok()) return status;
  const int num_actors = request.actor_ids_size();
  if (columns.num_rows() != num_actors) {
    return Invalid(
        reason::kFieldShape, "inputs",
        absl::StrCat(columns.num_rows() < 0 ? 0 : columns.num_rows(), " rows"),
        absl::StrCat(num_actors, ", one per actor"));
  }
  status = CheckSessionRows(session_columns.num_rows(), num_actors,
                            absl::StrCat(num_actors, ", one per actor"));
  if (!status.ok()) return status;
  status = CheckOrderColumns(request);
  if (!status.ok()) return status;
  const auto sampling =
      SamplingRows::Create(spec_, SamplingOf(request), num_actors);
  if (!sampling.ok()) return sampling.status();
  const auto wish = DecodeVersionWish(request);
  if (!wish.ok()) return wish.status();
  std::vector<absl::StatusOr<StepTask>> tasks;
  tasks.reserve(static_cast<std::size_t>(num_actors));
  for (int row = 0; row < num_actors; ++row) {
    StepTask task;
    task.actor_id = request.actor_ids(row);
    task.outputs = *outputs;
    task.is_ephemeral = request.ephemeral();
    task.version = *wish;
    status = DecodeOrder(request, row, &task);
    if (status.ok()) status = sampling->AppendTo(row, &task);
    if (status.ok()) status = EncodeSessionInputs(row, &session_columns, &task);
    if (status.ok()) status = EncodeStepRow(row, &columns, &task);
    if (status.ok()) {
      tasks.emplace_back(std::move(task));
    } else {
      tasks.emplace_back(std::move(status));
    }
  }
  return tasks;
}

void StepCodec::EncodeStep(const StepReply& reply,
                           v1::StepResponse* response) const {
  response->mutable_actions()->Add(reply.actions.begin(), reply.actions.end());
  response->mutable_log_probs()->Add(reply.log_probs.begin(),
                                     reply.log_probs.end());
  response->set_step_index(reply.step_index);
  response->set_epoch(reply.epoch);
  response->set_served_from(ToWire(reply.served_from));
  response->set_model_version(reply.model_version);
  response->set_context_version_min(reply.context_version_min);
  response->set_context_version_max(reply.context_version_max);
  EncodeOutputs(reply, response->mutable_outputs());
}

void StepCodec::EncodeEvaluate(const StepReply& reply,
                               v1::EvaluateResponse* response) const {
  response->mutable_log_probs()->Add(reply.log_probs.begin(),
                                     reply.log_probs.end());
  response->set_model_version(reply.model_version);
  EncodeOutputs(reply, response->mutable_outputs());
}

void StepCodec::EncodeOutputs(const StepReply& reply, Tensors* tensors) const {
  for (std::size_t i = 0; i < reply.outputs.size(); ++i) {
    const std::vector<float>& values = reply.outputs[i];
    if (values.empty()) continue;
    AddOutput(outputs_[i], reply.num_answered, tensors)
        ->set_data(values.data(), values.size() * sizeof(float));
  }
}

void StepCodec::StartStepBatch(std::int64_t num_rows, OutputMask outputs,
                               v1::StepBatchResponse* response) const {
  const int rows = static_cast<int>(num_rows);
  if (spec_.num_actions > 0) {
    response->mutable_actions()->Resize(rows, 0);
    response->mutable_log_probs()->Resize(rows, 0.0F);
  }
  response->mutable_step_indices()->Resize(rows, 0);
  response->mutable_epochs()->Resize(rows, 0);
  response->mutable_served_from()->Resize(rows, 0);
  response->mutable_model_versions()->Resize(rows, 0);
  response->mutable_context_versions_min()->Resize(rows, 0);
  response->mutable_context_versions_max()->Resize(rows, 0);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if ((outputs >> i & 1) == 0) continue;
    const OutputSpec& output = outputs_[i];
    AddOutput(output, num_rows, response->mutable_outputs())
        ->mutable_data()
        ->resize(static_cast<std::size_t>(num_rows * output.num_elements()) *
                 sizeof(float));
  }
}

void StepCodec::EncodeRow(const StepReply& reply, std::int64_t row,
                          v1::StepBatchResponse* response) const {
  const int r = static_cast<int>(row);
  if (!reply.actions.empty()) {
    response->mutable_actions()->Set(r, reply.actions.front());
    response->mutable_log_probs()->Set(r, reply.log_probs.front());
  }
  response->mutable_step_indices()->Set(r, reply.step_index);
  response->mutable_epochs()->Set(r, reply.epoch);
  response->mutable_served_from()->Set(r, ToWire(reply.served_from));
  response->mutable_model_versions()->Set(r, reply.model_version);
  response->mutable_context_versions_min()->Set(r, reply.context_version_min);
  response->mutable_context_versions_max()->Set(r, reply.context_version_max);
  int column = 0;
  for (const std::vector<float>& values : reply.outputs) {
    if (values.empty()) continue;
    std::string* data = response->mutable_outputs(column++)->mutable_data();
    const std::size_t bytes = values.size() * sizeof(float);
    std::memcpy(&(*data)[static_cast<std::size_t>(row) * bytes], values.data(),
                bytes);
  }
}

void StepCodec::DescribePolicy(v1::DescribeResponse* response) const {
  response->set_summary(spec_.summary);
  for (const FieldSpec& spec : spec_.fields) {
    DescribeField(spec, response->add_fields());
  }
  for (const FieldSpec& spec : spec_.session_fields) {
    DescribeField(spec, response->add_session_inputs());
  }
  for (const OutputSpec& spec : outputs_) {
    v1::Output* output = response->add_outputs();
    output->set_name(spec.name);
    for (const std::int64_t size : spec.shape) output->add_shape(size);
  }
  response->set_action_head(spec_.action_head);
  response->set_num_actions(static_cast<std::uint64_t>(spec_.num_actions));
  response->set_min_tokens_per_step(
      static_cast<std::uint32_t>(spec_.min_tokens_per_step));
  // Without bound is 0 on the wire.
  response->set_max_tokens_per_step(
      static_cast<std::uint32_t>(std::max(spec_.max_tokens_per_step, 0)));
  response->set_num_prefix_tokens(
      static_cast<std::uint32_t>(spec_.num_prefix_tokens));
  response->set_kv_bytes_per_token(
      static_cast<std::uint64_t>(spec_.kv_bytes_per_token));
  response->set_num_parameters(
      static_cast<std::uint64_t>(spec_.num_parameters));
  response->set_device(spec_.device);
}

}  // namespace stepd
