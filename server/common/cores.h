// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which cores this process may use, and staying on one of them. Memory that a
// thread is the first to write is the memory of its core's node.
//
// Thread safety: reentrant.

#ifndef STEPD_SERVER_COMMON_CORES_H_
#define STEPD_SERVER_COMMON_CORES_H_

#include <vector>

namespace stepd {

// Ascending; of the calling thread. Empty if the system does not say.
std::vector<int> AllowedCores();

// The calling thread runs on this core alone from now on. False: the system
// refuses, and nothing has changed.
bool StayOn(int core);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMON_CORES_H_
