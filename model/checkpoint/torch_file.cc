// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/torch_file.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/state_dict_pickle.h"
#include "model/checkpoint/zip_archive.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {
namespace {

using Members = std::map<std::string, absl::string_view>;

constexpr std::size_t kMaxPickleBytes = 64 << 20;
constexpr absl::string_view kPickleName = "data.pkl";

// The folder that all members are in, with its slash.
absl::StatusOr<std::string> FindRoot(const Members& members) {
  if (members.empty()) return absl::InvalidArgumentError("has no members");
  const std::string& first = members.begin()->first;
  const std::string root = first.substr(0, first.find('/') + 1);
  for (const auto& [name, data] : members) {
    if (root.empty() || !absl::StartsWith(name, root)) {
      return absl::InvalidArgumentError(
          absl::StrCat("member '", name, "' is not in the one root folder"));
    }
  }
  return root;
}

// Elements from a tensor's first to its last, or nullopt if that does not fit
// 64 bits or a stride is negative.
std::optional<std::int64_t> Span(const PickledTensor& tensor) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    std::int64_t reach = 0;
    if (tensor.strides[i] < 0 ||
        __builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i],
                               &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return std::nullopt;
    }
  }
  std::int64_t span = 0;
  if (__builtin_add_overflow(last, std::int64_t{1}, &span)) return std::nullopt;
  return span;
}

absl::Status CheckStorage(const PickledStorage& storage,
                          absl::string_view bytes) {
  std::int64_t want = 0;
  if (storage.num_elements < 0 ||
      __builtin_mul_overflow(storage.num_elements, SizeOf(storage.dtype),
                             &want) ||
      static_cast<std::uint64_t>(want) != bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("storage '", storage.key, "' should hold ",
                     storage.num_elements, " elements of ", Name(storage.dtype),
                     ", but has ", bytes.size(), " bytes"));
  }
  return absl::OkStatus();
}

// Where the tensor lies in its storage's bytes.
absl::StatusOr<absl::string_view> Locate(const PickledTensor& tensor,
                                         absl::string_view storage) {
  const absl::Status outside =
      absl::InvalidArgumentError("reaches beyond its storage");
  if (tensor.strides.size() != tensor.shape.size()) {
    return absl::InvalidArgumentError("has more sizes than strides, or fewer");
  }
  const std::optional<std::int64_t> num_elements = NumElements(tensor.shape);
  const std::int64_t available = tensor.storage.num_elements;
  if (!num_elements || tensor.offset < 0 || tensor.offset > available) {
    return outside;
  }
  if (*num_elements == 0) return storage.substr(0, 0);
  const std::optional<std::int64_t> span = Span(tensor);
  if (!span || *span > available - tensor.offset) return outside;
  // Else a few bytes could become any number of elements.
  if (*num_elements > available) {
    return absl::InvalidArgumentError("repeats elements of its storage");
  }
  const std::int64_t element = SizeOf(tensor.storage.dtype);
  return storage.substr(static_cast<std::size_t>(tensor.offset * element),
                        static_cast<std::size_t>(*span * element));
}

absl::StatusOr<StoredTensor> ToStoredTensor(const PickledTensor& pickled,
                                            absl::string_view storage) {
  if (absl::Status s = CheckStorage(pickled.storage, storage); !s.ok()) {
    return s;
  }
  absl::StatusOr<absl::string_view> bytes = Locate(pickled, storage);
  if (!bytes.ok()) return bytes.status();
  StoredTensor tensor;
  tensor.name = pickled.name;
  tensor.dtype_name = std::string(pickled.storage.dtype_name);
  tensor.dtype = pickled.storage.dtype;
  tensor.shape = pickled.shape;
  tensor.strides =
      bytes->empty() ? RowMajorStrides(pickled.shape) : pickled.strides;
  tensor.bytes = *bytes;
  return tensor;
}

absl::StatusOr<std::vector<PickledTensor>> ReadPickle(const Members& members,
                                                      const std::string& root) {
  const auto pickle = members.find(absl::StrCat(root, kPickleName));
  if (pickle == members.end()) {
    return absl::InvalidArgumentError("has no member data.pkl");
  }
  if (pickle->second.size() > kMaxPickleBytes) {
    return absl::InvalidArgumentError("data.pkl is over the limit of 64 MiB");
  }
  const auto byte_order = members.find(absl::StrCat(root, "byteorder"));
  if (byte_order != members.end() && byte_order->second != "little") {
    return absl::InvalidArgumentError("byteorder is not little");
  }
  return ReadStateDictPickle(pickle->second);
}

absl::StatusOr<std::vector<StoredTensor>> ReadTensors(
    const std::shared_ptr<const MappedFile>& file) {
  absl::StatusOr<Members> members = ReadZipArchive(file->bytes());
  if (!members.ok()) return members.status();
  absl::StatusOr<std::string> root = FindRoot(*members);
  if (!root.ok()) return root.status();
  absl::StatusOr<std::vector<PickledTensor>> pickled =
      ReadPickle(*members, *root);
  if (!pickled.ok()) return pickled.status();

  std::vector<StoredTensor> tensors;
  for (const PickledTensor& source : *pickled) {
    const auto storage =
        members->find(absl::StrCat(*root, "data/", source.storage.key));
    if (storage == members->end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", source.name, "': storage '",
                       source.storage.key, "' is missing"));
    }
    absl::StatusOr<StoredTensor> tensor =
        ToStoredTensor(source, storage->second);
    if (!tensor.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", source.name, "': ", tensor.status().message()));
    }
    tensor->file = file;
    tensors.push_back(*std::move(tensor));
  }
  return tensors;
}

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ReadTorchFile(
    const std::string& path) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::vector<StoredTensor>> tensors = ReadTensors(*file);
  if (tensors.ok()) return tensors;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", tensors.status().message()));
}

}  // namespace stepd::checkpoint
