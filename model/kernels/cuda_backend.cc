// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda_backend.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace stepd::kernels {
namespace {

constexpr char kLibrary[] = "libstepd_cuda.so";
constexpr char kDriver[] = "libcuda.so.1";

absl::Mutex mutex(absl::kConstInit);
const CudaBackend* opened ABSL_GUARDED_BY(mutex) = nullptr;

std::string LibraryPath() {
  if (const char* path = std::getenv("STEPD_CUDA_LIBRARY"); path != nullptr) {
    return path;
  }
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  const std::string executable(
      self, length > 0 ? static_cast<std::size_t>(length) : 0);
  return absl::StrCat(executable.substr(0, executable.rfind('/') + 1),
                      kLibrary);
}

absl::Status Missing(const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat("device cuda: ", what));
}

std::string LastError() {
  const char* error = dlerror();
  return error == nullptr ? "unknown reason" : error;
}

absl::StatusOr<const CudaBackend*> OpenLibrary() {
  const std::string path = LibraryPath();
  if (access(path.c_str(), R_OK) != 0) {
    return Missing(absl::StrCat("the CUDA library ", path,
                                " is not there: build it with --config=cuda"));
  }
  // Asked for first: without it NVIDIA's libraries fail in ways that say less.
  if (dlopen(kDriver, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return Missing(
        absl::StrCat("no NVIDIA driver on this machine (", LastError(), ")"));
  }
  // LibTorch finds its operators for CUDA in it: global, and open for good.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return Missing(
        absl::StrCat("the CUDA library cannot be opened: ", LastError()));
  }
  const auto* backend =
      static_cast<const CudaBackend*>(dlsym(library, kCudaBackendName));
  if (backend == nullptr) {
    return Missing(absl::StrCat(path, " is no library of this program"));
  }
  return backend;
}

}  // namespace

absl::Status OpenCudaBackend(int device) {
  const absl::MutexLock lock(&mutex);
  if (opened == nullptr) {
    const absl::StatusOr<const CudaBackend*> backend = OpenLibrary();
    if (!backend.ok()) return backend.status();
    opened = *backend;
  }
  std::string error;
  const int count = opened->count_devices(&error);
  if (count == 0) return Missing(absl::StrCat("no GPU that works: ", error));
  if (device < count) return absl::OkStatus();
  return Missing(absl::StrCat("there is no cuda:", device,
                              ", this machine has ", count, " GPUs"));
}

std::unique_ptr<KernelSet> CreateCudaKernelSet(const CudaOptions& options) {
  const CudaBackend* backend = nullptr;
  {
    const absl::MutexLock lock(&mutex);
    backend = opened;
  }
  return std::unique_ptr<KernelSet>(backend->create(options));
}

}  // namespace stepd::kernels
