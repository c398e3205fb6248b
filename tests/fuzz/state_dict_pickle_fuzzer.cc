// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Feeds arbitrary bytes to the pickle machine. How to run it: BUILD.bazel.

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "model/checkpoint/state_dict_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  stepd::checkpoint::ReadStateDictPickle(
      absl::string_view(reinterpret_cast<const char*>(data), size))
      .IgnoreError();
  return 0;
}
