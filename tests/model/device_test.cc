// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/device.h"

#include <dlfcn.h>

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::HasSubstr;

bool HasDriver() {
  return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

TEST(OpenDevice, KnowsItsWords) {
  EXPECT_TRUE(OpenDevice("cpu")->is_cpu());
  for (const char* word : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cudal"}) {
    const auto device = OpenDevice(word);
    EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument)
        << word;
    EXPECT_THAT(std::string(device.status().message()),
                HasSubstr("none of cpu, cuda, cuda:N, auto"));
  }
}

TEST(OpenDevice, SaysThatTheCudaLibraryIsMissing) {
  setenv("STEPD_CUDA_LIBRARY", "/nowhere/libstepd_cuda.so", 1);

  const auto device = OpenDevice("cuda");

  EXPECT_EQ(device.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(device.status().message()),
              HasSubstr("the CUDA library /nowhere/libstepd_cuda.so is not "
                        "there"));
}

TEST(OpenDevice, LooksForTheLibraryBesideTheExecutable) {
  unsetenv("STEPD_CUDA_LIBRARY");

  const auto device = OpenDevice("cuda:1");

  EXPECT_EQ(device.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(device.status().message()),
              HasSubstr("/tests/model/libstepd_cuda.so is not there"));
}

TEST(OpenDevice, SaysThatTheDriverIsMissing) {
  if (HasDriver()) GTEST_SKIP() << "this machine has an NVIDIA driver";
  // A library that is there; it is not opened without a driver.
  setenv("STEPD_CUDA_LIBRARY", "/proc/self/exe", 1);

  const auto device = OpenDevice("cuda");

  EXPECT_EQ(device.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(device.status().message()),
              HasSubstr("no NVIDIA driver on this machine"));
}

TEST(OpenDevice, TakesTheCpuWhereNoGpuWorks) {
  setenv("STEPD_CUDA_LIBRARY", "/nowhere/libstepd_cuda.so", 1);

  EXPECT_TRUE(OpenDevice("auto")->is_cpu());
}

}  // namespace
}  // namespace stepd
