// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// From a checkpoint directory to a resident policy.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_LOADER_H_
#define STEPD_MODEL_LOADER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/read_options.h"
#include "model/policy.h"

namespace stepd {

struct LoadOptions {
  std::string device = "cpu";  // cpu | cuda | cuda:N | auto
  // native, auto: stepd's own kernels; reference: LibTorch's operators.
  std::string kernels = "auto";
  // float32 | bfloat16: how the large matrices of the decoder are kept and what
  // they are multiplied with is rounded to. Sums, norms, softmax, routers,
  // readouts and embeddings are float32 always.
  std::string dtype = "float32";
  // A session's bits do not depend on what else is in its batches. The CPU's
  // native kernels always keep that, the reference never.
  bool is_deterministic = false;
  // Threads that share the linears of a lone small batch, the CPU's native
  // kernels only.
  int num_companions = 0;
  checkpoint::ReadOptions reading;
};

// Reads the checkpoint completely and strictly, or not at all.
// Errors: kInvalidArgument    the checkpoint is malformed, or of a kind that is
//                             refused, or has no such layers or loops as are
//                             asked for; names file and tensor or key
//         kNotFound           no checkpoint there
//         kFailedPrecondition the device is not available, and why
//         kResourceExhausted  it does not fit into memory
absl::StatusOr<std::unique_ptr<Policy>> LoadPolicy(const std::string& directory,
                                                   const LoadOptions& options);
// The same of a checkpoint that is open; options.reading is its own already.
absl::StatusOr<std::unique_ptr<Policy>> LoadPolicy(
    const checkpoint::Checkpoint& checkpoint, const LoadOptions& options);

}  // namespace stepd

#endif  // STEPD_MODEL_LOADER_H_
