// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/pem_file.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace stepd {

absl::StatusOr<std::string> ReadPem(absl::string_view key,
                                    const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream || text.str().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": cannot read ", file));
  }
  return text.str();
}

}  // namespace stepd
