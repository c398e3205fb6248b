// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/embedders/step_embedder.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ATen/Functions.h"

namespace stepd {

using kernels::KernelSet;
using kernels::ScatterTarget;

namespace {

// Adds row 0 of `row` [width] at every target.
void AddEverywhere(const KernelSet& kernels, const at::Tensor& row,
                   const ScatterTarget& target) {
  const std::vector<std::int64_t> zeros(target.out_offsets.size(), 0);
  kernels.AddTableRows(row.const_data_ptr<float>(), row.numel(), zeros, target);
}

}  // namespace

StepEmbedder::StepEmbedder(const EmbedderConfig& config,
                           const std::vector<FieldSpec>& fields,
                           const KernelSet& kernels)
    : kernels_(kernels),
      layout_(fields),
      hidden_dim_(config.hidden_dim),
      compute_tokens_(kernels::ToDevice(kernels, config.compute_tokens)) {
  int num_content_tokens = config.num_content_tokens;
  int next = 0;
  for (const FieldEmbedding& field : config.fields) {
    const bool is_sum = config.layout == FieldLayout::kSum;
    AddField(field, is_sum ? 0 : next * hidden_dim_);
    next += field.num_tokens;
    num_content_tokens =
        std::max(num_content_tokens, is_sum ? field.num_tokens : next);
  }
  tokens_per_step_ = num_content_tokens;
  if (compute_tokens_.defined()) {
    tokens_per_step_ += static_cast<int>(compute_tokens_.size(0));
  }
}

void StepEmbedder::AddField(const FieldEmbedding& config,
                            std::int64_t first_offset) {
  Field field = {config.field, config.num_tokens * hidden_dim_, first_offset,
                 kernels::ToDevice(kernels_, config.type_row), Table{}};
  if (const auto* table = std::get_if<TableEmbedding>(&config.content)) {
    field.content = Table{kernels::ToDevice(kernels_, table->table)};
  } else if (const auto* fourier =
                 std::get_if<FourierEmbedding>(&config.content)) {
    field.content = Fourier{kernels::ToDevice(kernels_, fourier->weight),
                            kernels::ToDevice(kernels_, fourier->freqs),
                            kernels::ToDevice(kernels_, fourier->phases)};
  } else {
    const auto& projection = std::get<ProjectionEmbedding>(config.content);
    field.content = Projection{
        kernels_.Pack({{projection.weight.transpose(0, 1), projection.bias}}),
        projection.scale, projection.offset};
  }
  fields_.push_back(std::move(field));
}

void StepEmbedder::Embed(absl::Span<const absl::string_view> steps,
                         float* x) const {
  const std::size_t num_fields = fields_.size();
  const std::int64_t step_size = tokens_per_step_ * hidden_dim_;
  const auto num_steps = static_cast<std::int64_t>(steps.size());

  std::vector<FieldValue> values(
      steps.size() * static_cast<std::size_t>(layout_.num_fields()));
  const auto stride = static_cast<std::size_t>(layout_.num_fields());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    layout_.Decode(steps[i],
                   absl::MakeSpan(values).subspan(i * stride, stride));
  }

  at::from_blob(x, {num_steps * step_size},
                at::TensorOptions(at::kFloat).device(kernels_.device()))
      .zero_();
  std::vector<std::int64_t> offsets(steps.size());
  std::vector<FieldValue> column(steps.size());
  const auto set_offsets = [&](std::int64_t first) {
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      offsets[i] = static_cast<std::int64_t>(i) * step_size + first;
    }
  };
  for (std::size_t f = 0; f < num_fields; ++f) {
    const Field& field = fields_[f];
    set_offsets(field.first_offset);
    for (std::size_t i = 0; i < column.size(); ++i) {
      column[i] = values[i * stride + static_cast<std::size_t>(field.index)];
    }
    const ScatterTarget target = {x, offsets};
    std::visit(
        [&](const auto& content) {
          AddContent(field, content, column, target);
        },
        field.content);
    if (field.type_row.defined()) {
      AddEverywhere(kernels_, field.type_row, target);
    }
  }
  if (compute_tokens_.defined()) {
    set_offsets(step_size - compute_tokens_.numel());
    AddEverywhere(kernels_, compute_tokens_, {x, offsets});
  }
}

void StepEmbedder::AddContent(const Field& field, const Table& table,
                              absl::Span<const FieldValue> values,
                              const ScatterTarget& target) const {
  std::vector<std::int64_t> rows(values.size());
  std::transform(values.begin(), values.end(), rows.begin(),
                 [](const FieldValue& value) { return LoadInt64(value); });
  kernels_.AddTableRows(table.table.const_data_ptr<float>(), field.width, rows,
                        target);
}

void StepEmbedder::AddContent(const Field& field, const Fourier& fourier,
                              absl::Span<const FieldValue> values,
                              const ScatterTarget& target) const {
  const std::int64_t num_inputs = fourier.weight.size(0);
  std::vector<float> x;
  x.reserve(values.size() * static_cast<std::size_t>(num_inputs));
  for (const FieldValue& value : values) {
    for (std::int64_t c = 0; c < num_inputs; ++c) {
      x.push_back(LoadFloat(value, c));
    }
  }
  kernels_.AddFourier(
      {fourier.weight.const_data_ptr<float>(),
       fourier.freqs.const_data_ptr<float>(),
       fourier.phases.const_data_ptr<float>(), num_inputs, field.width},
      x.data(), target);
}

void StepEmbedder::AddContent(const Field& field, const Projection& projection,
                              absl::Span<const FieldValue> values,
                              const ScatterTarget& target) const {
  const std::int64_t num_inputs = projection.linear->in_dim();
  const auto num_steps = static_cast<std::int64_t>(values.size());
  const at::TensorOptions device =
      at::TensorOptions(at::kFloat).device(kernels_.device());
  at::Tensor host = at::empty({num_steps, num_inputs}, at::kFloat);
  float* to = host.data_ptr<float>();
  for (const FieldValue& value : values) {
    for (std::int64_t p = 0; p < num_inputs; ++p) {
      *to++ = LoadFloat(value, p) * projection.scale + projection.offset;
    }
  }
  const at::Tensor x = host.to(kernels_.device());
  at::Tensor y = at::empty({num_steps, field.width}, device);
  kernels_.Linear(*projection.linear, x.const_data_ptr<float>(), num_steps,
                  y.data_ptr<float>(), kernels::LinearOutput::kStore);
  std::vector<std::int64_t> rows(values.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<std::int64_t>(i);
  }
  kernels_.AddTableRows(y.const_data_ptr<float>(), field.width, rows, target);
}

}  // namespace stepd
