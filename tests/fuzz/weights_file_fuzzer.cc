// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Feeds arbitrary bytes to both readers of weights files, and touches every
// byte that they claim a tensor has. How to run it: BUILD.bazel.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/torch_file.h"

namespace {

using stepd::checkpoint::StoredTensor;

// A file in memory, which has a path as others do.
std::string WriteMemoryFile(const std::uint8_t* data, std::size_t size) {
  static const int kFile = memfd_create("fuzz", MFD_CLOEXEC);
  const auto want = static_cast<ssize_t>(size);
  if (ftruncate(kFile, 0) != 0 || pwrite(kFile, data, size, 0) != want) {
    std::abort();
  }
  return "/proc/self/fd/" + std::to_string(kFile);
}

void TouchAll(const absl::StatusOr<std::vector<StoredTensor>>& tensors) {
  if (!tensors.ok()) return;
  volatile char sum = 0;
  for (const StoredTensor& tensor : *tensors) {
    for (char byte : tensor.bytes) sum = static_cast<char>(sum + byte);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string path = WriteMemoryFile(data, size);
  TouchAll(stepd::checkpoint::ReadSafetensors(path));
  TouchAll(stepd::checkpoint::ReadTorchFile(path));
  return 0;
}
