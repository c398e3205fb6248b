// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of every key of the configuration.
//
// Thread safety: constant.

#ifndef STEPD_SERVER_CONFIG_CONFIG_KEYS_H_
#define STEPD_SERVER_CONFIG_CONFIG_KEYS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/config.h"

namespace stepd {

struct ConfigKeyEntry {
  const char* section;
  const char* key;
  const char* type;
  const char* default_text;
  const char* help;
  // Parses a value into its place.
  // Errors: kInvalidArgument  what was wanted and what was got
  std::function<absl::Status(absl::string_view text, Config* config)> set;

  std::string name() const;      // "server.address"
  std::string variable() const;  // "STEPD_SERVER_ADDRESS"
};

const std::vector<ConfigKeyEntry>& ConfigTable();

}  // namespace stepd

#endif  // STEPD_SERVER_CONFIG_CONFIG_KEYS_H_
