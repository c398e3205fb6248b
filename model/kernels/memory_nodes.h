// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The nodes of memory (NUMA) of a host with several processors: each is near to
// some of the cores.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_KERNELS_MEMORY_NODES_H_
#define STEPD_MODEL_KERNELS_MEMORY_NODES_H_

#include <cstddef>

namespace stepd::kernels {

// The nodes that this process may use; 1 where nobody can say.
int CountMemoryNodes();

// Asks the system to spread what of [memory, memory + bytes) is whole pages,
// and was never written, over all of these nodes: what every core reads. False:
// it will be where who writes it first is, which is only slower.
bool SpreadOverMemoryNodes(void* memory, std::size_t bytes);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_MEMORY_NODES_H_
