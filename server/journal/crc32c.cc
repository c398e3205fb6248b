// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/crc32c.h"

#include <array>
#include <cstddef>

namespace stepd {
namespace {

// The remainders of every byte.
constexpr std::array<std::uint32_t, 256> MakeTable() {
  constexpr std::uint32_t kReversedPolynomial = 0x82f63b78;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReversedPolynomial : 0);
    }
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kTable = MakeTable();

}  // namespace

std::uint32_t Crc32c(absl::string_view bytes, std::uint32_t crc) {
  crc = ~crc;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    crc = (crc >> 8) ^ kTable[(crc ^ byte) & 0xff];
  }
  return ~crc;
}

}  // namespace stepd
