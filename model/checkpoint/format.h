// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What one checkpoint format brings: how to know it, and how to read it.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_CHECKPOINT_FORMAT_H_
#define STEPD_MODEL_CHECKPOINT_FORMAT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/read_options.h"
#include "model/checkpoint/tensor_source.h"
#include "model/policy_description.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {

// The config.json of a checkpoint, and what was asked for besides.
struct ConfigFile {
  std::string path;     // for errors
  nlohmann::json json;  // an object
  ReadOptions options;
};

struct Format {
  absl::string_view name;
  // How a config of this format looks, for people whose config does not.
  absl::string_view looks_like;
  bool (*recognise)(const nlohmann::json& config);
  // Translates the whole checkpoint. What it leaves in the source is refused.
  // Errors: kInvalidArgument  names the key or the tensor, and the file
  absl::StatusOr<PolicyDescription> (*read)(const ConfigFile& config,
                                            TensorSource* weights);
  // Whether ReadOptions::num_loops means anything to it.
  bool has_loops = false;
  // Which tensors ReadOptions::layers needs; nullptr: it is always read whole.
  // Errors: kInvalidArgument  the config is malformed, or has no such layers
  absl::StatusOr<TensorFilter> (*select)(const ConfigFile& config) = nullptr;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_FORMAT_H_
