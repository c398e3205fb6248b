// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/formats.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/hugging_face.h"
#include "model/checkpoint/kempner_forge.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/mouse_v03.h"
#include "model/checkpoint/mouse_v1.h"
#include "model/checkpoint/noether_untied.h"
#include "model/checkpoint/open_mythos.h"
#include "model/checkpoint/stored_tensor_source.h"
#include "model/checkpoint/strict_json.h"
#include "model/checkpoint/tensor_source.h"

namespace stepd::checkpoint {
namespace {

// The first one that recognises a config reads it.
constexpr const Format* kFormats[] = {
    &kHuggingFace, &kKempnerForge,  &kMouseV03,
    &kMouseV1,     &kNoetherUntied, &kOpenMythos,
};

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

// What the config says of itself, to help people find what they have.
std::string SelfDescription(const nlohmann::json& config) {
  for (const char* key : {"format", "family", "model_type"}) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_string()) {
      return absl::StrCat(" (its ", key, " is '",
                          found->get_ref<const std::string&>().substr(0, 80),
                          "')");
    }
  }
  return "";
}

absl::StatusOr<const Format*> FindFormat(const ConfigFile& config) {
  std::string looked_for;
  for (const Format* format : kFormats) {
    if (format->recognise(config.json)) return format;
    absl::StrAppend(&looked_for, "; ", format->name, ": ", format->looks_like);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(config.path, ": is of no format that stepd reads",
                   SelfDescription(config.json), looked_for));
}

// Errors: kInvalidArgument  an option that means nothing to the format
absl::StatusOr<TensorFilter> ApplyOptions(const ConfigFile& config,
                                          const Format& format) {
  const auto error = [&](absl::string_view option, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(
        config.path, ": ", option, " is given, but a checkpoint of ",
        format.name, " ", problem));
  };
  if (config.options.num_loops != 0 && !format.has_loops) {
    return error("n_loops", "has no loops");
  }
  if (!config.options.layers.has_value()) return TensorFilter();
  if (format.select == nullptr) {
    return error("a range of layers", "is read whole or not at all");
  }
  return format.select(config);
}

}  // namespace

absl::StatusOr<PolicyDescription> ReadCheckpoint(const std::string& directory,
                                                 const ReadOptions& options) {
  absl::StatusOr<ConfigFile> config = ReadConfig(directory);
  if (!config.ok()) return config.status();
  config->options = options;
  absl::StatusOr<const Format*> format = FindFormat(*config);
  if (!format.ok()) return format.status();
  absl::StatusOr<TensorFilter> wanted = ApplyOptions(*config, **format);
  if (!wanted.ok()) return wanted.status();
  absl::StatusOr<std::unique_ptr<TensorSource>> weights =
      OpenWeights(directory, *wanted);
  if (!weights.ok()) return weights.status();

  absl::StatusOr<PolicyDescription> policy =
      (*format)->read(*config, weights->get());
  if (!policy.ok()) return policy;
  if (absl::Status s = (*weights)->CheckAllTaken(); !s.ok()) return s;
  policy->format = std::string((*format)->name);
  policy->num_parameters = (*weights)->num_elements_taken();
  return policy;
}

}  // namespace stepd::checkpoint
