// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/huge_pages.h"

#include <sys/mman.h>

#include <memory>

namespace stepd::kernels {

void AdviseHugePages(void* memory, std::size_t bytes) {
  if (std::align(kHugePage, kHugePage, memory, bytes) == nullptr) return;
  madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
}

}  // namespace stepd::kernels
