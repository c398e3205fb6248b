// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Large memory that a forward walks through: with pages of 4 KiB it would wait
// for their translations.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_KERNELS_HUGE_PAGES_H_
#define STEPD_MODEL_KERNELS_HUGE_PAGES_H_

#include <cstddef>

namespace stepd::kernels {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Asks the system to back what of [memory, memory + bytes) is whole huge pages
// with such. Advice: where it has none, the memory is just as good, only
// slower.
void AdviseHugePages(void* memory, std::size_t bytes);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_HUGE_PAGES_H_
