// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The checksum of journal records.
//
// Source: CRC-32C (Castagnoli), RFC 3720 appendix B.4.
//
// Thread safety: pure function.

#ifndef STEPD_SERVER_JOURNAL_CRC32C_H_
#define STEPD_SERVER_JOURNAL_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace stepd {

// Of `bytes` after those whose checksum is `crc` (0: there are none).
std::uint32_t Crc32c(absl::string_view bytes, std::uint32_t crc = 0);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_CRC32C_H_
