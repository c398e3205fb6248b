// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Files of certificates and keys.
//
// Thread safety: pure function.

#ifndef STEPD_SERVER_SERVICE_PEM_FILE_H_
#define STEPD_SERVER_SERVICE_PEM_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd {

// The text of `file`, which `key` names.
// Errors: kInvalidArgument  it cannot be read, or is empty
absl::StatusOr<std::string> ReadPem(absl::string_view key,
                                    const std::string& file);

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_PEM_FILE_H_
