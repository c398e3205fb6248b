// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The version of the daemon, as told by --version, Describe and /metrics.

#ifndef STEPD_SERVER_OBSERVE_VERSION_H_
#define STEPD_SERVER_OBSERVE_VERSION_H_

namespace stepd {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace stepd

#endif  // STEPD_SERVER_OBSERVE_VERSION_H_
