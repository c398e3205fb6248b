// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/random_steps.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <random>
#include <utility>

#include "model/step.h"

namespace stepd::bench {
namespace {

template <typename T>
void Append(T value, std::string* out) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out->append(bytes, sizeof(T));
}

void AppendRandom(const FieldSpec& field, std::mt19937_64* random,
                  std::string* out) {
  if (field.dtype == DType::kInt64) {
    const std::int64_t min = field.min.value_or(0);
    const std::int64_t max = field.max.value_or(min + 1);
    Append(std::uniform_int_distribution<std::int64_t>(min, max)(*random), out);
    return;
  }
  const double min =
      std::max(-1.0, static_cast<double>(field.min.value_or(-1)));
  const double max =
      std::max(min, std::min(1.0, static_cast<double>(field.max.value_or(1))));
  Append(static_cast<float>(
             std::uniform_real_distribution<double>(min, max)(*random)),
         out);
}

}  // namespace

RandomSteps::RandomSteps(std::vector<FieldSpec> fields, int count,
                         std::uint64_t seed)
    : fields_(std::move(fields)), count_(count), columns_(fields_.size()) {
  assert(count > 0);
  std::mt19937_64 random(seed);
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const std::int64_t size = count * NumElements(static_cast<int>(f));
    for (std::int64_t i = 0; i < size; ++i) {
      AppendRandom(fields_[f], &random, &columns_[f]);
    }
  }
}

std::int64_t RandomSteps::NumElements(int field) const {
  const FieldSpec& spec = fields_[static_cast<std::size_t>(field)];
  return spec.num_elements() * (spec.is_ragged() ? kRaggedEntries : 1);
}

absl::string_view RandomSteps::Value(std::int64_t step, int field) const {
  const std::string& column = columns_[static_cast<std::size_t>(field)];
  const std::size_t bytes = column.size() / static_cast<std::size_t>(count_);
  const auto row = static_cast<std::size_t>(step % count_);
  return absl::string_view(column).substr(row * bytes, bytes);
}

std::string RandomSteps::Encode(std::int64_t step) const {
  std::vector<FieldValue> values(fields_.size());
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const int field = static_cast<int>(f);
    values[f] = {Value(step, field).data(), NumElements(field)};
  }
  std::string encoded;
  StepLayout(fields_).Encode(values, &encoded);
  return encoded;
}

}  // namespace stepd::bench
