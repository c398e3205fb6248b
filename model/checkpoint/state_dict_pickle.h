// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads the pickle of a state dict, {name: tensor}, without executing anything:
// a machine for the 24 opcodes and 7 globals that torch.save uses for one.
// Everything else is refused by name. Stack, memo and nesting are bounded.
//
// Source: the comments of CPython's pickletools.py (the machine);
// docs/checkpoints.md (the globals).
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_STATE_DICT_PICKLE_H_
#define STEPD_MODEL_CHECKPOINT_STATE_DICT_PICKLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {

// A row of numbers that tensors are views of.
struct PickledStorage {
  DType dtype = DType::kFloat32;
  absl::string_view dtype_name;   // "FloatStorage"
  absl::string_view key;          // names the member with its bytes
  std::int64_t num_elements = 0;  // as the pickle claims
};

// As the pickle claims; nothing about the sizes is checked.
struct PickledTensor {
  std::string name;
  PickledStorage storage;
  std::int64_t offset = 0;  // in elements, as the strides
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};

// The tensors in the pickle's order. They borrow from `pickle`.
//
// Errors: kInvalidArgument  the opcode, global or entry that is refused, and
//                           where; the caller adds the file
absl::StatusOr<std::vector<PickledTensor>> ReadStateDictPickle(
    absl::string_view pickle);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_STATE_DICT_PICKLE_H_
