// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/byte_reader.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/strict_json.h"
#include "model/policy_spec.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr absl::string_view kMetadata = "__metadata__";

struct ElementType {
  absl::string_view name;
  std::int64_t bytes;
  std::optional<DType> dtype;
};

constexpr ElementType kElementTypes[] = {
    {"F32", 4, DType::kFloat32},  {"BF16", 2, DType::kBFloat16},
    {"F16", 2, DType::kFloat16},  {"F64", 8, DType::kFloat64},
    {"I64", 8, DType::kInt64},    {"I32", 4, DType::kInt32},
    {"U8", 1, DType::kUInt8},     {"BOOL", 1, DType::kBool},
    {"I16", 2, std::nullopt},     {"I8", 1, std::nullopt},
    {"U16", 2, std::nullopt},     {"U32", 4, std::nullopt},
    {"U64", 8, std::nullopt},     {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt}, {"C64", 8, std::nullopt},
};

const ElementType* FindElementType(absl::string_view name) {
  for (const ElementType& type : kElementTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

// A tensor's place in the bytes after the header.
struct Entry {
  StoredTensor tensor;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Fills `values` if `array` is a list of numbers from 0 to 2^63 - 1.
bool ReadSizes(const json& array, std::vector<std::int64_t>* values) {
  if (!array.is_array()) return false;
  for (const json& item : array) {
    if (!item.is_number_unsigned()) return false;
    const auto value = item.get<std::uint64_t>();
    if (value > std::numeric_limits<std::int64_t>::max()) return false;
    values->push_back(static_cast<std::int64_t>(value));
  }
  return true;
}

// Whether the bytes [begin, end) are what dtype and shape ask for. A dtype
// that is not known may take any number of them.
absl::Status CheckSize(const Entry& entry, const ElementType* type) {
  const std::optional<std::int64_t> num_elements =
      NumElements(entry.tensor.shape);
  if (!num_elements) return absl::InvalidArgumentError("its shape is too big");
  if (type == nullptr) return absl::OkStatus();
  std::int64_t want = 0;
  if (__builtin_mul_overflow(*num_elements, type->bytes, &want)) {
    return absl::InvalidArgumentError("its shape is too big");
  }
  const std::int64_t got = entry.end - entry.begin;
  if (want != got) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets hold ", got,
                     " bytes, but dtype and shape ask for ", want));
  }
  return absl::OkStatus();
}

// The problem alone; the caller adds file and tensor.
absl::StatusOr<Entry> ReadEntry(const json& value) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    return absl::InvalidArgumentError(
        "must have exactly the keys dtype, shape and data_offsets");
  }
  Entry entry;
  if (!value["dtype"].is_string()) {
    return absl::InvalidArgumentError("dtype must be a string");
  }
  entry.tensor.dtype_name = value["dtype"].get<std::string>();
  if (!ReadSizes(value["shape"], &entry.tensor.shape)) {
    return absl::InvalidArgumentError("shape must be a list of sizes");
  }
  std::vector<std::int64_t> offsets;
  if (!ReadSizes(value["data_offsets"], &offsets) || offsets.size() != 2 ||
      offsets[0] > offsets[1]) {
    return absl::InvalidArgumentError(
        "data_offsets must be [begin, end] with begin <= end");
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  const ElementType* type = FindElementType(entry.tensor.dtype_name);
  if (absl::Status size = CheckSize(entry, type); !size.ok()) return size;
  if (type != nullptr) entry.tensor.dtype = type->dtype;
  entry.tensor.strides = RowMajorStrides(entry.tensor.shape);
  return entry;
}

absl::Status CheckMetadata(const json& metadata) {
  const bool is_valid =
      metadata.is_object() &&
      std::all_of(metadata.begin(), metadata.end(),
                  [](const json& value) { return value.is_string(); });
  if (is_valid) return absl::OkStatus();
  return absl::InvalidArgumentError("__metadata__ must map strings to strings");
}

absl::StatusOr<std::vector<Entry>> ReadEntries(const json& header) {
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      if (absl::Status s = CheckMetadata(value); !s.ok()) return s;
      continue;
    }
    absl::StatusOr<Entry> entry = ReadEntry(value);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, "': ", entry.status().message()));
    }
    entry->tensor.name = name;
    entries.push_back(*std::move(entry));
  }
  return entries;
}

// Sorts the entries by place; every byte must belong to exactly one of them.
absl::Status CheckCoverage(std::int64_t num_bytes,
                           std::vector<Entry>* entries) {
  std::sort(entries->begin(), entries->end(),
            [](const Entry& a, const Entry& b) {
              return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
            });
  std::int64_t covered = 0;
  for (const Entry& entry : *entries) {
    const std::string& name = entry.tensor.name;
    if (entry.end > num_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", name, "': ends at byte ", entry.end, " of ", num_bytes,
          ": the file is truncated, or the offsets are wrong"));
    }
    if (entry.begin != covered) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", name, "': begins at byte ", entry.begin,
          entry.begin < covered ? ", inside its neighbour, which ends at "
                                : ", after a hole that begins at ",
          covered));
    }
    covered = entry.end;
  }
  if (covered != num_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        num_bytes - covered, " bytes after the last tensor belong to none"));
  }
  return absl::OkStatus();
}

// Splits the file; the problem alone.
absl::Status SplitFile(absl::string_view bytes, absl::string_view* header,
                       absl::string_view* data) {
  ByteReader reader(bytes);
  std::uint64_t header_size = 0;
  if (!reader.Read(&header_size)) {
    return absl::InvalidArgumentError("is too short for a safetensors file");
  }
  if (header_size > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a header of ", header_size,
                     " bytes is over the limit of ", kMaxHeaderBytes));
  }
  if (!reader.ReadBytes(header_size, header)) {
    return absl::InvalidArgumentError(
        absl::StrCat("is truncated: a header of ", header_size,
                     " bytes in a file of ", bytes.size()));
  }
  *data = bytes.substr(reader.position());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StoredTensor>> ReadTensors(
    const std::shared_ptr<const MappedFile>& file) {
  absl::string_view header_text;
  absl::string_view data;
  if (absl::Status split = SplitFile(file->bytes(), &header_text, &data);
      !split.ok()) {
    return split;
  }
  absl::StatusOr<json> header = ParseStrictJson(header_text);
  if (!header.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("header: ", header.status().message()));
  }
  absl::StatusOr<std::vector<Entry>> entries = ReadEntries(*header);
  if (!entries.ok()) return entries.status();
  if (absl::Status covered =
          CheckCoverage(static_cast<std::int64_t>(data.size()), &*entries);
      !covered.ok()) {
    return covered;
  }
  std::vector<StoredTensor> tensors;
  tensors.reserve(entries->size());
  for (Entry& entry : *entries) {
    entry.tensor.bytes =
        data.substr(static_cast<std::size_t>(entry.begin),
                    static_cast<std::size_t>(entry.end - entry.begin));
    entry.tensor.file = file;
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ReadSafetensors(
    const std::string& path) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::Open(path);
  if (!file.ok()) return file.status();
  return ReadSafetensors(*file);
}

absl::StatusOr<std::vector<StoredTensor>> ReadSafetensors(
    const std::shared_ptr<const MappedFile>& file) {
  absl::StatusOr<std::vector<StoredTensor>> tensors = ReadTensors(file);
  if (tensors.ok()) return tensors;
  return absl::InvalidArgumentError(
      absl::StrCat(file->path(), ": ", tensors.status().message()));
}

}  // namespace stepd::checkpoint
