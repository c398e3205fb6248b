// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/policy_spec.h"

#include <cstddef>
#include <cstdlib>

namespace stepd {
namespace {

// A ragged leading dimension counts as one entry.
std::int64_t Product(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (std::int64_t size : shape) product *= size < 0 ? 1 : size;
  return product;
}

template <typename T>
int FindByName(const std::vector<T>& items, absl::string_view name) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

std::int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUInt8:
      return 1;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kInt32:
    case DType::kFloat32:
      return 4;
    case DType::kInt64:
    case DType::kFloat64:
      return 8;
  }
  std::abort();
}

absl::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "bool";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
  }
  std::abort();
}

std::int64_t FieldSpec::num_elements() const { return Product(shape); }
std::int64_t OutputSpec::num_elements() const { return Product(shape); }

int FindField(const std::vector<FieldSpec>& fields, absl::string_view name) {
  return FindByName(fields, name);
}

int PolicySpec::FindOutput(absl::string_view name) const {
  return FindByName(outputs, name);
}

}  // namespace stepd
