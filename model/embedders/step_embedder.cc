// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/embedders/step_embedder.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "ATen/Functions.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stepd {

using kernels::KernelSet;

namespace {

// Values that are projected together: scratch memory is sized for them.
constexpr std::int64_t kMostProjected = 64;
// Inputs of a projection in EmbedRows().
constexpr std::int64_t kMostInputsAtOnce = 64;

// Element `i`; past the end of a ragged or an absent value it is 0.
float ElementOrZero(const FieldValue& value, std::int64_t i) {
  return i < value.count ? LoadFloat(value, i) : 0.0F;
}

bool MayVanish(const FieldEmbedding& field,
               const std::vector<FieldSpec>& fields) {
  if (field.field < 0) return false;
  if (field.absent_value.has_value() &&
      field.absent_value->then == WhenAbsent::kNoTokens) {
    return true;
  }
  return field.when_absent == WhenAbsent::kNoTokens &&
         !fields[static_cast<std::size_t>(field.field)].required;
}

}  // namespace

StepEmbedder::StepEmbedder(const EmbedderConfig& config,
                           const std::vector<FieldSpec>& fields,
                           const KernelSet& kernels)
    : kernels_(kernels),
      layout_(fields),
      hidden_dim_(config.hidden_dim),
      field_layout_(config.layout),
      presence_(config.presence),
      min_content_tokens_(config.min_content_tokens),
      num_banks_(config.num_banks),
      compute_tokens_(kernels::ToDevice(kernels, config.compute_tokens)) {
  if (compute_tokens_.defined()) {
    num_compute_tokens_ = static_cast<int>(compute_tokens_.size(0));
  }
  int most = 0;
  int least = 0;
  bool is_unbounded = false;
  for (const FieldEmbedding& field : config.fields) {
    AddField(field, fields);
    const int most_of_field = field.first_token + field.num_tokens;
    const int least_of_field = MayVanish(field, fields) ? 0 : most_of_field;
    is_unbounded |= std::holds_alternative<GivenEmbedding>(field.content) &&
                    fields[static_cast<std::size_t>(field.field)].is_ragged();
    if (field_layout_ == FieldLayout::kSum) {
      most = std::max(most, most_of_field);
      least = std::max(least, least_of_field);
    } else {
      most += most_of_field;
      least += least_of_field;
    }
  }
  least = std::max(least, min_content_tokens_) + num_compute_tokens_;
  most = std::max(most, min_content_tokens_) + num_compute_tokens_;
  min_tokens_ = std::max(1, least);
  max_tokens_ = is_unbounded ? -1 : most;
  if (kernels_.has_embed_rows()) ListContents();
}

void StepEmbedder::AddField(FieldEmbedding config,
                            const std::vector<FieldSpec>& fields) {
  Field field;
  field.is_index =
      config.field >= 0 &&
      fields[static_cast<std::size_t>(config.field)].dtype == DType::kInt64;
  field.width = config.num_tokens * hidden_dim_;
  field.type_row = kernels::ToDevice(kernels_, config.type_row);
  if (const auto* table = std::get_if<TableEmbedding>(&config.content)) {
    field.content = Table{kernels::ToDevice(kernels_, table->table)};
  } else if (const auto* fourier =
                 std::get_if<FourierEmbedding>(&config.content)) {
    field.content = Fourier{kernels::ToDevice(kernels_, fourier->weight),
                            kernels::ToDevice(kernels_, fourier->freqs),
                            kernels::ToDevice(kernels_, fourier->phases)};
  } else if (const auto* projection =
                 std::get_if<ProjectionEmbedding>(&config.content)) {
    field.content = Projection{
        kernels_.PackFloat32(
            {{projection->weight.transpose(0, 1), projection->bias}}),
        projection->scale,
        projection->offset,
        projection->truncates,
        at::Tensor(),
        at::Tensor()};
    // More inputs are the business of a matrix product.
    if (kernels_.has_embed_rows() &&
        projection->weight.size(0) <= kMostInputsAtOnce) {
      auto& placed = std::get<Projection>(field.content);
      placed.weight = kernels::ToDevice(kernels_, projection->weight);
      placed.bias = kernels::ToDevice(kernels_, projection->bias);
    }
  } else {
    field.content = Given{};
  }
  config.content = GivenEmbedding{};
  config.type_row = at::Tensor();
  field.config = std::move(config);
  fields_.push_back(std::move(field));
}

// ---- Counting and planning ----------------------------------------------

std::optional<WhenAbsent> StepEmbedder::FindAbsence(
    const Field& field, absl::Span<const FieldValue> step) const {
  if (field.config.field < 0) return std::nullopt;
  const FieldValue& value = step[static_cast<std::size_t>(field.config.field)];
  if (!value.is_present()) return field.config.when_absent;
  if (!field.config.absent_value.has_value()) return std::nullopt;
  const AbsentValue& absent = *field.config.absent_value;
  const bool is_absent =
      field.is_index
          ? LoadInt64(value) == static_cast<std::int64_t>(absent.value)
          : LoadFloat(value) == static_cast<float>(absent.value);
  return is_absent ? std::optional(absent.then) : std::nullopt;
}

int StepEmbedder::FieldTokens(const Field& field,
                              absl::Span<const FieldValue> step) const {
  if (FindAbsence(field, step) == WhenAbsent::kNoTokens) return 0;
  if (std::holds_alternative<Given>(field.content)) {
    const FieldValue& value =
        step[static_cast<std::size_t>(field.config.field)];
    return static_cast<int>(value.count / hidden_dim_);
  }
  return field.config.num_tokens;
}

int StepEmbedder::StepTokens(absl::Span<const FieldValue> step) const {
  int tokens = 0;
  for (const Field& field : fields_) {
    int of_field = FieldTokens(field, step);
    if (of_field > 0) of_field += field.config.first_token;
    tokens = field_layout_ == FieldLayout::kSum ? std::max(tokens, of_field)
                                                : tokens + of_field;
  }
  return std::max(tokens, min_content_tokens_) + num_compute_tokens_;
}

absl::StatusOr<int> StepEmbedder::CountTokens(absl::string_view step) const {
  std::vector<FieldValue> values(
      static_cast<std::size_t>(layout_.num_fields()));
  if (!layout_.Decode(step, absl::MakeSpan(values))) {
    return absl::InvalidArgumentError("the bytes are no step of this policy");
  }
  if (presence_ == FieldPresence::kExactlyOne) {
    const auto present =
        std::count_if(values.begin(), values.end(),
                      [](const FieldValue& v) { return v.is_present(); });
    if (present != 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a step must have exactly one of its fields, this one has ",
          present));
    }
  }
  if (absl::Status status = CheckBanks(values); !status.ok()) return status;
  const int tokens = StepTokens(values);
  if (tokens == 0) {
    return absl::InvalidArgumentError("the step becomes no token at all");
  }
  return tokens;
}

absl::Status StepEmbedder::CheckBanks(absl::Span<const FieldValue> step) const {
  for (const Field& field : fields_) {
    if (!field.config.bank_field.has_value()) continue;
    const FieldValue& banks =
        step[static_cast<std::size_t>(*field.config.bank_field)];
    if (banks.count != FieldTokens(field, step)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the step has ", FieldTokens(field, step),
                       " tokens and the banks of ", banks.count));
    }
    for (std::int64_t i = 0; i < banks.count; ++i) {
      const std::int64_t bank = LoadInt64(banks, i);
      if (bank >= 0 && bank < num_banks_) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, " is of bank ", bank, " of ", num_banks_));
    }
  }
  return absl::OkStatus();
}

void StepEmbedder::Plan(absl::Span<const absl::string_view> steps,
                        absl::Span<const RowGap> gaps, EmbedPlan* plan) const {
  const auto num_fields = static_cast<std::size_t>(layout_.num_fields());
  plan->values.resize(steps.size() * num_fields);
  plan->num_tokens.resize(steps.size());
  plan->first_rows.resize(steps.size());
  plan->content_rows.assign(steps.size() * fields_.size(), -1);
  plan->num_rows = 0;
  plan->token_banks.clear();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (; !gaps.empty() && gaps.front().step == i; gaps.remove_prefix(1)) {
      plan->num_rows += gaps.front().num_rows;
      if (num_banks_ > 1) {
        plan->token_banks.resize(static_cast<std::size_t>(plan->num_rows),
                                 gaps.front().bank);
      }
    }
    layout_.Decode(
        steps[i],
        absl::MakeSpan(plan->values).subspan(i * num_fields, num_fields));
    PlanStep(i, plan);
    if (num_banks_ > 1) PlanBanks(i, plan);
  }
}

void StepEmbedder::PlanStep(std::size_t step, EmbedPlan* plan) const {
  const auto num_fields = static_cast<std::size_t>(layout_.num_fields());
  const absl::Span<const FieldValue> values =
      absl::MakeSpan(plan->values).subspan(step * num_fields, num_fields);
  plan->first_rows[step] = plan->num_rows;
  int next = 0;
  int most = min_content_tokens_;
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const int tokens = FieldTokens(fields_[f], values);
    if (tokens == 0) continue;
    const int first = next + fields_[f].config.first_token;
    plan->content_rows[step * fields_.size() + f] = plan->num_rows + first;
    most = std::max(most, first + tokens);
    if (field_layout_ == FieldLayout::kConcat) next += tokens;
  }
  plan->num_tokens[step] = most + num_compute_tokens_;
  plan->num_rows += plan->num_tokens[step];
}

void StepEmbedder::PlanBanks(std::size_t step, EmbedPlan* plan) const {
  const auto num_fields = static_cast<std::size_t>(layout_.num_fields());
  plan->token_banks.resize(static_cast<std::size_t>(plan->num_rows), 0);
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const std::int64_t first = plan->content_rows[step * fields_.size() + f];
    if (!fields_[f].config.bank_field.has_value() || first < 0) continue;
    const FieldValue& banks =
        plan->values[step * num_fields +
                     static_cast<std::size_t>(*fields_[f].config.bank_field)];
    for (std::int64_t i = 0; i < banks.count; ++i) {
      plan->token_banks[static_cast<std::size_t>(first + i)] =
          static_cast<std::int32_t>(LoadInt64(banks, i));
    }
  }
}

// ---- Embedding ----------------------------------------------------------

std::int64_t StepEmbedder::ScratchSize() const {
  std::int64_t most = 0;
  for (const Field& field : fields_) {
    const auto* projection = std::get_if<Projection>(&field.content);
    if (projection == nullptr) continue;
    const std::int64_t num_inputs = projection->linear->in_dim();
    most = std::max(most, Scratch::Rounded(kMostProjected * num_inputs) +
                              Scratch::Rounded(kMostProjected * field.width));
  }
  return most;
}

void StepEmbedder::Embed(const EmbedPlan& plan, Scratch* scratch,
                         EmbedColumn* column, float* x) const {
  const bool is_at_once = kernels_.has_embed_rows();
  if (is_at_once) {
    EmbedAtOnce(plan, column, x);
  } else {
    kernels_.Zero(x, plan.num_rows * hidden_dim_);
  }
  const Output output = {column, scratch, x};
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const Field& field = fields_[f];
    if (field.content_index >= 0) continue;
    FillColumn(plan, f, column);
    std::visit([&](const auto& content) { AddContent(field, content, output); },
               field.content);
    if (field.type_row.defined()) {
      AddEverywhere(field.type_row, column->all_offsets, &column->indices, x);
    }
  }
  if (num_compute_tokens_ == 0 || is_at_once) return;
  FindComputeTokens(plan, &column->offsets);
  AddEverywhere(compute_tokens_, column->offsets, &column->indices, x);
}

void StepEmbedder::FindComputeTokens(const EmbedPlan& plan,
                                     std::vector<std::int64_t>* offsets) const {
  offsets->resize(plan.num_tokens.size());
  for (std::size_t i = 0; i < offsets->size(); ++i) {
    (*offsets)[i] =
        (plan.first_rows[i] + plan.num_tokens[i] - num_compute_tokens_) *
        hidden_dim_;
  }
}

// ---- At once ------------------------------------------------------------

std::int32_t StepEmbedder::AddContentOf(const at::Tensor& table) {
  kernels::EmbedContent content;
  content.weight = table.const_data_ptr<float>();
  content.width = table.numel();
  contents_.push_back(content);
  return static_cast<std::int32_t>(contents_.size()) - 1;
}

void StepEmbedder::ListContents() {
  for (Field& field : fields_) {
    kernels::EmbedContent content;
    content.width = field.width;
    if (const auto* table = std::get_if<Table>(&field.content)) {
      content.weight = table->table.const_data_ptr<float>();
    } else if (const auto* fourier = std::get_if<Fourier>(&field.content)) {
      content.kind = kernels::EmbedContent::Kind::kFourier;
      content.num_inputs = static_cast<std::int32_t>(fourier->weight.size(0));
      content.weight = fourier->weight.const_data_ptr<float>();
      content.freqs = fourier->freqs.const_data_ptr<float>();
      content.phases = fourier->phases.const_data_ptr<float>();
    } else if (const auto* projection =
                   std::get_if<Projection>(&field.content)) {
      if (!projection->weight.defined()) continue;
      content.kind = kernels::EmbedContent::Kind::kProjection;
      content.num_inputs =
          static_cast<std::int32_t>(projection->weight.size(0));
      content.weight = projection->weight.const_data_ptr<float>();
      content.bias = projection->bias.const_data_ptr<float>();
    } else {
      continue;
    }
    field.content_index = static_cast<std::int32_t>(contents_.size());
    contents_.push_back(content);
    if (field.type_row.defined()) {
      field.type_index = AddContentOf(field.type_row);
    }
  }
  if (num_compute_tokens_ > 0) compute_index_ = AddContentOf(compute_tokens_);
}

std::int64_t StepEmbedder::ArgumentOf(const Field& field,
                                      const FieldValue& value,
                                      EmbedProgram* program) {
  if (std::holds_alternative<Table>(field.content)) {
    return value.is_present() ? LoadInt64(value) : 0;
  }
  const std::int64_t argument = program->num_inputs();
  if (const auto* fourier = std::get_if<Fourier>(&field.content)) {
    for (std::int64_t c = 0; c < fourier->weight.size(0); ++c) {
      program->AddInput(ElementOrZero(value, field.config.first_element + c));
    }
  } else {
    const auto& projection = std::get<Projection>(field.content);
    for (std::int64_t p = 0; p < projection.linear->in_dim(); ++p) {
      program->AddInput(ProjectionInput(field, projection, value, p));
    }
  }
  return argument;
}

void StepEmbedder::EmbedAtOnce(const EmbedPlan& plan, EmbedColumn* column,
                               float* x) const {
  EmbedProgram program(contents_, hidden_dim_);
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const Field& field = fields_[f];
    if (field.content_index < 0) continue;
    FillColumn(plan, f, column);
    for (std::size_t i = 0; i < column->offsets.size(); ++i) {
      // A content without a field is row 0 of its table.
      const FieldValue value =
          field.config.field < 0 ? FieldValue{} : column->values[i];
      program.Add(field.content_index, column->offsets[i] / hidden_dim_,
                  ArgumentOf(field, value, &program));
    }
    if (field.type_index < 0) continue;
    for (const std::int64_t offset : column->all_offsets) {
      program.Add(field.type_index, offset / hidden_dim_, 0);
    }
  }
  if (compute_index_ >= 0) {
    FindComputeTokens(plan, &column->offsets);
    for (const std::int64_t offset : column->offsets) {
      program.Add(compute_index_, offset / hidden_dim_, 0);
    }
  }
  program.Run(kernels_, plan.num_rows, x);
}

float StepEmbedder::ProjectionInput(const Field& field,
                                    const Projection& projection,
                                    const FieldValue& value, std::int64_t p) {
  const float element = ElementOrZero(value, field.config.first_element + p);
  return (projection.truncates ? std::trunc(element) : element) *
             projection.scale +
         projection.offset;
}

// ---- One by one ---------------------------------------------------------

void StepEmbedder::FillColumn(const EmbedPlan& plan, std::size_t field_index,
                              EmbedColumn* column) const {
  const Field& field = fields_[field_index];
  const auto stride = static_cast<std::size_t>(layout_.num_fields());
  column->values.clear();
  column->offsets.clear();
  column->all_offsets.clear();
  for (std::size_t i = 0; i < plan.num_tokens.size(); ++i) {
    const std::int64_t row =
        plan.content_rows[i * fields_.size() + field_index];
    if (row < 0) continue;
    column->all_offsets.push_back(row * hidden_dim_);
    const absl::Span<const FieldValue> step =
        absl::MakeSpan(plan.values).subspan(i * stride, stride);
    const std::optional<WhenAbsent> absence = FindAbsence(field, step);
    if (absence == WhenAbsent::kZeros) continue;
    column->offsets.push_back(row * hidden_dim_);
    if (field.config.field < 0) continue;
    column->values.push_back(
        absence.has_value()
            ? FieldValue{}
            : step[static_cast<std::size_t>(field.config.field)]);
  }
}

void StepEmbedder::AddEverywhere(const at::Tensor& row,
                                 absl::Span<const std::int64_t> offsets,
                                 std::vector<std::int64_t>* zeros,
                                 float* x) const {
  zeros->assign(offsets.size(), 0);
  kernels_.AddTableRows(row.const_data_ptr<float>(), row.numel(), *zeros,
                        {x, offsets});
}

void StepEmbedder::AddContent(const Field& field, const Table& table,
                              const Output& output) const {
  EmbedColumn& column = *output.column;
  column.indices.assign(column.offsets.size(), 0);
  std::transform(column.values.begin(), column.values.end(),
                 column.indices.begin(), [](const FieldValue& value) {
                   return value.is_present() ? LoadInt64(value) : 0;
                 });
  kernels_.AddTableRows(table.table.const_data_ptr<float>(), field.width,
                        column.indices, {output.x, column.offsets});
}

void StepEmbedder::AddContent(const Field& field, const Fourier& fourier,
                              const Output& output) const {
  EmbedColumn& column = *output.column;
  const std::int64_t num_inputs = fourier.weight.size(0);
  column.inputs.clear();
  for (const FieldValue& value : column.values) {
    for (std::int64_t c = 0; c < num_inputs; ++c) {
      column.inputs.push_back(
          ElementOrZero(value, field.config.first_element + c));
    }
  }
  kernels_.AddFourier(
      {fourier.weight.const_data_ptr<float>(),
       fourier.freqs.const_data_ptr<float>(),
       fourier.phases.const_data_ptr<float>(), num_inputs, field.width},
      column.inputs.data(), {output.x, column.offsets});
}

void StepEmbedder::AddContent(const Field& field, const Projection& projection,
                              const Output& output) const {
  EmbedColumn& column = *output.column;
  const std::int64_t num_inputs = projection.linear->in_dim();
  column.indices.resize(
      std::min<std::size_t>(column.values.size(), kMostProjected));
  std::iota(column.indices.begin(), column.indices.end(), 0);
  const Scratch::Scope scope(output.scratch);
  float* inputs = output.scratch->Take(kMostProjected * num_inputs);
  float* rows = output.scratch->Take(kMostProjected * field.width);
  for (std::size_t begin = 0; begin < column.values.size();
       begin += kMostProjected) {
    const auto values = absl::MakeConstSpan(column.values)
                            .subspan(begin, std::size_t{kMostProjected});
    column.inputs.clear();
    for (const FieldValue& value : values) {
      for (std::int64_t p = 0; p < num_inputs; ++p) {
        column.inputs.push_back(ProjectionInput(field, projection, value, p));
      }
    }
    const auto count = static_cast<std::int64_t>(values.size());
    kernels_.CopyFromHost(column.inputs.data(), count * num_inputs, inputs);
    kernels_.Linear({projection.linear.get(), inputs, count, rows});
    kernels_.AddTableRows(
        rows, field.width,
        absl::MakeConstSpan(column.indices).first(values.size()),
        {output.x,
         absl::MakeConstSpan(column.offsets).subspan(begin, values.size())});
  }
}

void StepEmbedder::AddContent(const Field& /*field*/, const Given& /*given*/,
                              const Output& output) const {
  EmbedColumn& column = *output.column;
  for (std::size_t i = 0; i < column.values.size(); ++i) {
    const FieldValue& value = column.values[i];
    column.inputs.resize(static_cast<std::size_t>(value.count));
    for (std::int64_t e = 0; e < value.count; ++e) {
      column.inputs[static_cast<std::size_t>(e)] = LoadFloat(value, e);
    }
    kernels_.CopyFromHost(column.inputs.data(), value.count,
                          output.x + column.offsets[i]);
  }
}

}  // namespace stepd
