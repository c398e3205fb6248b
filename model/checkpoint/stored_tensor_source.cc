// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/stored_tensor_source.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "c10/core/ScalarType.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/safetensors_shards.h"
#include "model/checkpoint/torch_file.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {
namespace {

constexpr std::size_t kMaxNamesInError = 5;

at::ScalarType ToScalarType(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kUInt8:
      return at::kByte;
    case DType::kInt32:
      return at::kInt;
    case DType::kInt64:
      return at::kLong;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBFloat16:
      return at::kBFloat16;
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat64:
      return at::kDouble;
  }
  std::abort();
}

// The elements from the first to the last one, as a row.
at::Tensor ToRow(const StoredTensor& stored) {
  const at::ScalarType dtype = ToScalarType(*stored.dtype);
  const std::int64_t element = SizeOf(*stored.dtype);
  const auto count = static_cast<std::int64_t>(stored.bytes.size()) / element;
  const auto address = reinterpret_cast<std::uintptr_t>(stored.bytes.data());
  if (address % static_cast<std::uintptr_t>(element) == 0) {
    return at::from_blob(
        const_cast<char*>(stored.bytes.data()), {count},
        [file = stored.file](void* /*data*/) {}, at::dtype(dtype));
  }
  at::Tensor row = at::empty({count}, at::dtype(dtype));
  std::memcpy(row.data_ptr(), stored.bytes.data(), stored.bytes.size());
  return row;
}

// A number is not finite when all bits of its exponent are set. One pass
// without branches: every weight of a policy goes through here.
template <typename Bits>
bool AllFinite(const at::Tensor& tensor, Bits exponent) {
  const auto* numbers = static_cast<const Bits*>(tensor.const_data_ptr());
  const std::int64_t count = tensor.numel();
  bool is_finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    is_finite &= (numbers[i] & exponent) != exponent;
  }
  return is_finite;
}

// REQUIRES: a floating dtype, contiguous.
bool IsFinite(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return AllFinite<std::uint16_t>(tensor, 0x7c00);
    case at::kBFloat16:
      return AllFinite<std::uint16_t>(tensor, 0x7f80);
    case at::kDouble:
      return AllFinite<std::uint64_t>(tensor, 0x7ff0'0000'0000'0000);
    default:
      return AllFinite<std::uint32_t>(tensor, 0x7f80'0000);
  }
}

std::string ShapeText(absl::Span<const std::int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

at::Tensor ToTensor(const StoredTensor& stored) {
  if (stored.bytes.empty()) {
    return at::empty(stored.shape, at::dtype(ToScalarType(*stored.dtype)));
  }
  return ToRow(stored).as_strided(stored.shape, stored.strides).contiguous();
}

absl::StatusOr<std::unique_ptr<StoredTensorSource>> StoredTensorSource::Create(
    std::string where, std::vector<StoredTensor> tensors,
    NonFiniteWeights non_finite) {
  std::unique_ptr<StoredTensorSource> source(
      new StoredTensorSource(std::move(where), non_finite));
  for (StoredTensor& tensor : tensors) {
    const std::string name = tensor.name;
    if (!source->entries_.emplace(name, Entry{std::move(tensor)}).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(source->where_, ": tensor '", name, "' is there twice"));
    }
  }
  return source;
}

absl::StatusOr<at::Tensor> StoredTensorSource::Take(absl::string_view name,
                                                    at::IntArrayRef shape) {
  const auto error = [&](const auto&... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat(where_, ": tensor '", name, "' ", parts...));
  };
  const auto found = entries_.find(name);
  if (found == entries_.end()) return error("is missing");
  const StoredTensor& stored = found->second.tensor;
  if (found->second.state != State::kUnused) return error("is used twice");
  if (at::IntArrayRef(stored.shape) != shape) {
    return error("has shape ", ShapeText(stored.shape), ", expected ",
                 ShapeText({shape.data(), shape.size()}));
  }
  if (!stored.dtype || !at::isFloatingType(ToScalarType(*stored.dtype))) {
    return error("has dtype ", stored.dtype_name,
                 ", expected a floating-point one");
  }
  found->second.state = State::kTaken;
  at::Tensor tensor = ToTensor(stored);
  num_elements_taken_ += tensor.numel();
  if (non_finite_ == NonFiniteWeights::kRefuse && !IsFinite(tensor)) {
    return error("holds NaN or an infinity");
  }
  return stored.dtype == DType::kFloat64 ? tensor.to(at::kFloat) : tensor;
}

bool StoredTensorSource::Has(absl::string_view name) const {
  return entries_.find(name) != entries_.end();
}

std::optional<std::vector<std::int64_t>> StoredTensorSource::FindShape(
    absl::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second.tensor.shape;
}

void StoredTensorSource::Ignore(absl::string_view name) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.state = State::kIgnored;
}

void StoredTensorSource::IgnoreAll(absl::string_view prefix) {
  for (auto& [name, entry] : entries_) {
    if (absl::StartsWith(name, prefix) && entry.state == State::kUnused) {
      entry.state = State::kIgnored;
    }
  }
}

absl::Status StoredTensorSource::CheckAllTaken() const {
  std::vector<std::string> unused;
  for (const auto& [name, entry] : entries_) {
    if (entry.state == State::kUnused) {
      unused.push_back(absl::StrCat("'", name, "'"));
    }
  }
  if (unused.empty()) return absl::OkStatus();
  const std::size_t count = unused.size();
  if (count > kMaxNamesInError) {
    unused.resize(kMaxNamesInError);
    unused.push_back("...");
  }
  return absl::InvalidArgumentError(absl::StrCat(
      where_, ": ", count, " tensor", count == 1 ? "" : "s",
      " that the config has no place for: ", absl::StrJoin(unused, ", ")));
}

absl::StatusOr<StoredWeights> ReadWeights(const std::string& directory,
                                          const TensorFilter& wanted) {
  const std::string safetensors = absl::StrCat(directory, "/model.safetensors");
  const std::string torch_file = absl::StrCat(directory, "/pytorch_model.bin");
  std::string path = directory;
  absl::StatusOr<std::vector<StoredTensor>> tensors =
      ReadSafetensorsShards(directory, wanted);
  if (absl::IsNotFound(tensors.status())) {
    path = safetensors;
    tensors = ReadSafetensors(path);
  }
  if (absl::IsNotFound(tensors.status())) {
    path = torch_file;
    tensors = ReadTorchFile(path);
  }
  if (absl::IsNotFound(tensors.status())) {
    return absl::NotFoundError(absl::StrCat(
        "no weights: looked for ", safetensors, " (or its index) and ", path));
  }
  if (!tensors.ok()) return tensors.status();
  if (wanted != nullptr) {
    const auto is_unwanted = [&](const StoredTensor& tensor) {
      return !wanted(tensor.name);
    };
    tensors->erase(
        std::remove_if(tensors->begin(), tensors->end(), is_unwanted),
        tensors->end());
  }
  return StoredWeights{path, *std::move(tensors)};
}

}  // namespace stepd::checkpoint
