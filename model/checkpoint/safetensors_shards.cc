// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/safetensors_shards.h"

#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/strict_json.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {
namespace {

constexpr std::size_t kMaxIndexBytes = 64 << 20;

// Tensor to file.
using WeightMap = std::map<std::string, std::string>;

// A relative path that stays below its folder.
bool StaysInside(absl::string_view path) {
  if (path.empty() || path.front() == '/') return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

absl::StatusOr<WeightMap> ReadIndex(const std::string& path) {
  const auto error = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", parts...));
  };
  absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if ((*file)->bytes().size() > kMaxIndexBytes) {
    return error("is over the limit of 64 MiB");
  }
  absl::StatusOr<nlohmann::json> index = ParseStrictJson((*file)->bytes());
  if (!index.ok()) return error(index.status().message());
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object()) {
    return error("has no object 'weight_map'");
  }
  WeightMap weights;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() ||
        !StaysInside(shard.get_ref<const std::string&>())) {
      return error("tensor '", tensor,
                   "' is in no file below the checkpoint's folder");
    }
    weights.emplace(tensor, shard.get<std::string>());
  }
  return weights;
}

// Moves the tensors of one shard that the index places there.
absl::Status TakeShard(const std::string& directory, const std::string& shard,
                       WeightMap* missing, std::vector<StoredTensor>* all) {
  const std::string path = absl::StrCat(directory, "/", shard);
  absl::StatusOr<std::vector<StoredTensor>> tensors = ReadSafetensors(path);
  if (absl::IsNotFound(tensors.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the index names this file, but it is missing"));
  }
  if (!tensors.ok()) return tensors.status();
  for (StoredTensor& tensor : *tensors) {
    const auto entry = missing->find(tensor.name);
    if (entry == missing->end() || entry->second != shard) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor '", tensor.name,
                       "' is not of this file, says the index"));
    }
    missing->erase(entry);
    all->push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

// Leaves only what lies in shards with a wanted tensor.
void DropOtherShards(
    const std::function<bool(absl::string_view tensor)>& wanted,
    WeightMap* weights) {
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : *weights) {
    if (wanted(tensor)) shards.insert(shard);
  }
  for (auto entry = weights->begin(); entry != weights->end();) {
    entry = shards.count(entry->second) > 0 ? std::next(entry)
                                            : weights->erase(entry);
  }
}

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ReadSafetensorsShards(
    const std::string& directory,
    const std::function<bool(absl::string_view tensor)>& wanted) {
  const std::string path =
      absl::StrCat(directory, "/model.safetensors.index.json");
  absl::StatusOr<WeightMap> missing = ReadIndex(path);
  if (!missing.ok()) return missing.status();
  if (wanted != nullptr) DropOtherShards(wanted, &*missing);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : *missing) shards.insert(shard);
  std::vector<StoredTensor> all;
  for (const std::string& shard : shards) {
    absl::Status status = TakeShard(directory, shard, &*missing, &all);
    if (!status.ok()) return status;
  }
  if (!missing->empty()) {
    const auto& [tensor, shard] = *missing->begin();
    return absl::InvalidArgumentError(absl::StrCat(
        directory, "/", shard, ": tensor '", tensor, "' is missing"));
  }
  return all;
}

}  // namespace stepd::checkpoint
