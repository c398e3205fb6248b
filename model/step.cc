// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/step.h"

#include <cassert>
#include <cstddef>
#include <cstring>

namespace stepd {
namespace {

template <typename T>
T LoadUnaligned(const char* data, std::int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<std::int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

}  // namespace

std::int64_t LoadInt64(const FieldValue& value, std::int64_t i) {
  return LoadUnaligned<std::int64_t>(value.data, i);
}

float LoadFloat(const FieldValue& value, std::int64_t i) {
  return LoadUnaligned<float>(value.data, i);
}

bool LoadBool(const FieldValue& value, std::int64_t i) {
  return value.data[i] != '\0';
}

StepLayout::StepLayout(const std::vector<FieldSpec>& fields) {
  fields_.reserve(fields.size());
  for (const FieldSpec& spec : fields) {
    const Field field = {SizeOf(spec.dtype), spec.num_elements(),
                         !spec.required, spec.is_ragged()};
    fields_.push_back(field);
    if (field.is_optional || field.is_ragged) {
      fixed_bytes_ = -1;
    } else if (fixed_bytes_ >= 0) {
      fixed_bytes_ += field.element_bytes * field.num_elements;
    }
  }
}

void StepLayout::Encode(absl::Span<const FieldValue> values,
                        std::string* out) const {
  assert(values.size() == fields_.size());
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field& field = fields_[i];
    const FieldValue& value = values[i];
    if (field.is_optional) {
      out->push_back(value.is_present() ? '\1' : '\0');
      if (!value.is_present()) continue;
    }
    if (field.is_ragged) {
      const auto entries =
          static_cast<std::uint32_t>(value.count / field.num_elements);
      out->append(reinterpret_cast<const char*>(&entries), sizeof(entries));
    }
    out->append(value.data,
                static_cast<std::size_t>(value.count * field.element_bytes));
  }
}

bool StepLayout::Decode(absl::string_view step,
                        absl::Span<FieldValue> values) const {
  assert(values.size() == fields_.size());
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field& field = fields_[i];
    values[i] = FieldValue{};
    if (field.is_optional) {
      if (step.empty()) return false;
      const bool is_present = step.front() == '\1';
      step.remove_prefix(1);
      if (!is_present) continue;
    }
    std::uint64_t entries = 1;
    if (field.is_ragged) {
      if (step.size() < sizeof(std::uint32_t)) return false;
      entries = LoadUnaligned<std::uint32_t>(step.data(), 0);
      step.remove_prefix(sizeof(std::uint32_t));
    }
    // 2^32 entries times an element size that was checked at load: no overflow.
    const std::uint64_t count =
        entries * static_cast<std::uint64_t>(field.num_elements);
    const std::uint64_t bytes =
        count * static_cast<std::uint64_t>(field.element_bytes);
    if (bytes > step.size()) return false;
    values[i] = {step.data(), static_cast<std::int64_t>(count)};
    step.remove_prefix(bytes);
  }
  return step.empty();
}

}  // namespace stepd
