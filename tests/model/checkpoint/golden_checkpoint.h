// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Recorded checkpoints in memory, for tests to damage, and the damages that
// every format must notice and name.
//
// Thread safety: reentrant.

#ifndef STEPD_TESTS_MODEL_CHECKPOINT_GOLDEN_CHECKPOINT_H_
#define STEPD_TESTS_MODEL_CHECKPOINT_GOLDEN_CHECKPOINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/policy_description.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {

struct GoldenCheckpoint {
  nlohmann::json config;
  std::vector<StoredTensor> tensors;
};

// `name` is "<family>/<case>".
GoldenCheckpoint LoadGolden(const std::string& name);

// As if it lay in "dir/config.json" and "dir/weights".
absl::StatusOr<PolicyDescription> Read(const Format& format,
                                       const GoldenCheckpoint& checkpoint);
std::string ErrorOf(const Format& format, const GoldenCheckpoint& checkpoint);

// Expect that an error names each tensor that is missing, extra, of another
// shape, of integers.
void ExpectMissingTensorsNamed(const Format& format,
                               const GoldenCheckpoint& whole);
void ExpectExtraTensorsNamed(const Format& format,
                             const GoldenCheckpoint& whole);
void ExpectMisshapenTensorsNamed(const Format& format,
                                 const GoldenCheckpoint& whole);
void ExpectIntegerTensorsNamed(const Format& format,
                               const GoldenCheckpoint& whole);

// Expect that an error names each key, in objects and arrays of objects, whose
// value is of another type, but those in `ignored`.
void ExpectKeysOfAnotherTypeNamed(const Format& format,
                                  const GoldenCheckpoint& whole,
                                  const std::vector<std::string>& ignored);
// Expect that an error names a key that does not belong, in each object.
void ExpectUnknownKeysNamed(const Format& format,
                            const GoldenCheckpoint& whole);

// A value that a key of a recorded configuration must not have.
struct WrongValue {
  const char* name;        // of the test
  const char* checkpoint;  // "<case>"
  const char* path;        // JSON pointer
  const char* value;       // JSON; nullptr: the key is removed
  const char* error;       // how the error goes on after the file's name
};
void ExpectWrongValueNamed(const Format& format, GoldenCheckpoint checkpoint,
                           const WrongValue& wrong);

}  // namespace stepd::checkpoint

#endif  // STEPD_TESTS_MODEL_CHECKPOINT_GOLDEN_CHECKPOINT_H_
