// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/checkpoint.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/formats.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/stored_tensor_source.h"
#include "model/checkpoint/strict_json.h"
#include "model/checkpoint/tensor_source.h"
#include "model/policy_description.h"

namespace stepd::checkpoint {
namespace {

constexpr std::size_t kMaxConfigBytes = 16 << 20;

absl::StatusOr<ConfigFile> ReadConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if ((*file)->bytes().size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is over the limit of 16 MiB"));
  }
  absl::StatusOr<nlohmann::json> json = ParseStrictJson((*file)->bytes());
  if (!json.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", json.status().message()));
  }
  ConfigFile config;
  config.path = path;
  config.json = *std::move(json);
  return config;
}

bool IsFloating(const StoredTensor& tensor) {
  return tensor.dtype == DType::kFloat16 || tensor.dtype == DType::kBFloat16 ||
         tensor.dtype == DType::kFloat32 || tensor.dtype == DType::kFloat64;
}

std::string ShapeText(const StoredTensor& tensor) {
  return absl::StrCat("[", absl::StrJoin(tensor.shape, ", "), "]");
}

// Whether `tensor` can take the place of `old` (nullptr: there is none). The
// problem alone.
absl::Status CheckReplaces(const StoredTensor& tensor,
                           const StoredTensor* old) {
  if (old == nullptr) {
    return absl::InvalidArgumentError("is not in the checkpoint");
  }
  if (tensor.shape != old->shape) {
    return absl::InvalidArgumentError(
        absl::StrCat("has shape ", ShapeText(tensor), ", in the checkpoint ",
                     ShapeText(*old)));
  }
  if (IsFloating(*old) && !IsFloating(tensor)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has dtype ", tensor.dtype_name, ", expected a floating-point one"));
  }
  return absl::OkStatus();
}

}  // namespace

struct Checkpoint::Parts {
  std::string directory;
  ConfigFile config;
  const Format* format = nullptr;
  StoredWeights weights;
};

Checkpoint::Checkpoint(std::unique_ptr<const Parts> parts)
    : parts_(std::move(parts)) {}

Checkpoint::~Checkpoint() = default;

absl::StatusOr<std::shared_ptr<const Checkpoint>> Checkpoint::Open(
    const std::string& directory, const ReadOptions& options) {
  absl::StatusOr<ConfigFile> config = ReadConfig(directory);
  if (!config.ok()) return config.status();
  config->options = options;
  absl::StatusOr<const Format*> format = FindFormat(*config);
  if (!format.ok()) return format.status();
  absl::StatusOr<TensorFilter> wanted = FindWanted(*config, **format);
  if (!wanted.ok()) return wanted.status();
  absl::StatusOr<StoredWeights> weights = ReadWeights(directory, *wanted);
  if (!weights.ok()) return weights.status();
  auto parts = std::make_unique<Parts>();
  parts->directory = directory;
  parts->config = *std::move(config);
  parts->format = *format;
  parts->weights = *std::move(weights);
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(parts)));
}

absl::StatusOr<std::shared_ptr<const Checkpoint>> Checkpoint::WithTensors(
    const std::shared_ptr<const MappedFile>& file, TensorSet set) const {
  absl::StatusOr<std::vector<StoredTensor>> tensors = ReadSafetensors(file);
  if (!tensors.ok()) return tensors.status();
  auto parts = std::make_unique<Parts>(*parts_);
  absl::flat_hash_map<absl::string_view, StoredTensor*> left;
  for (StoredTensor& old : parts->weights.tensors) left[old.name] = &old;
  for (StoredTensor& tensor : *tensors) {
    const auto old = left.find(tensor.name);
    const absl::Status status =
        CheckReplaces(tensor, old == left.end() ? nullptr : old->second);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          file->path(), ": tensor '", tensor.name, "' ", status.message()));
    }
    StoredTensor* place = old->second;
    left.erase(old);
    *place = std::move(tensor);
  }
  if (set == TensorSet::kAll && !left.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file->path(), ": tensor '", left.begin()->first,
                     "' is missing, and ", left.size() - 1, " others"));
  }
  parts->weights.where = absl::StrCat(file->path(), " over ", parts->directory);
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(parts)));
}

absl::StatusOr<PolicyDescription> Checkpoint::Read() const {
  const ConfigFile& config = parts_->config;
  absl::StatusOr<std::unique_ptr<StoredTensorSource>> weights =
      StoredTensorSource::Create(parts_->weights.where, parts_->weights.tensors,
                                 config.options.non_finite);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<PolicyDescription> policy =
      parts_->format->read(config, weights->get());
  if (!policy.ok()) return policy;
  if (absl::Status s = (*weights)->CheckAllTaken(); !s.ok()) return s;
  policy->format = std::string(parts_->format->name);
  policy->num_parameters = (*weights)->num_elements_taken();
  return policy;
}

}  // namespace stepd::checkpoint
