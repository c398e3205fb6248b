// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/formats.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/hugging_face.h"
#include "model/checkpoint/kempner_forge.h"
#include "model/checkpoint/mouse_v03.h"
#include "model/checkpoint/mouse_v1.h"
#include "model/checkpoint/noether_untied.h"
#include "model/checkpoint/open_mythos.h"
#include "model/checkpoint/tensor_source.h"

namespace stepd::checkpoint {
namespace {

// The first one that recognises a config reads it.
constexpr const Format* kFormats[] = {
    &kHuggingFace, &kKempnerForge,  &kMouseV03,
    &kMouseV1,     &kNoetherUntied, &kOpenMythos,
};

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

}  // namespace

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

absl::StatusOr<TensorFilter> FindWanted(const ConfigFile& config,
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

}  // namespace stepd::checkpoint
