// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Strict reader of the one kind of ZIP file that torch.save writes: members
// stored as they are, one after another, then the central directory.
//
// Source: APPNOTE.TXT 6.3, sections 4.3.7 (local header), 4.3.12 (central
// directory) and 4.3.16 (its end).
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_
#define STEPD_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

// Bytes of the members by name; they borrow from `archive`.
//
// Errors: kInvalidArgument  truncated, compressed, encrypted, over 4 GiB, a
//                           name twice, members that overlap or whose two
//                           headers disagree; the caller adds the file
absl::StatusOr<std::map<std::string, absl::string_view>> ReadZipArchive(
    absl::string_view archive);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_ZIP_ARCHIVE_H_
