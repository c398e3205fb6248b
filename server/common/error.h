// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Errors as values: an absl::Status that carries the machine-readable reason
// and the details that the wire's google.rpc.ErrorInfo shows.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_COMMON_ERROR_H_
#define STEPD_SERVER_COMMON_ERROR_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stepd {

// Reasons of the wire (docs/errors.md).
namespace reason {
inline constexpr absl::string_view kMessage = "MESSAGE";
inline constexpr absl::string_view kActorId = "ACTOR_ID";
inline constexpr absl::string_view kFieldUnknown = "FIELD_UNKNOWN";
inline constexpr absl::string_view kFieldMissing = "FIELD_MISSING";
inline constexpr absl::string_view kFieldType = "FIELD_TYPE";
inline constexpr absl::string_view kFieldShape = "FIELD_SHAPE";
inline constexpr absl::string_view kFieldRange = "FIELD_RANGE";
// Inputs of a session that has begun already.
inline constexpr absl::string_view kSessionInputs = "SESSION_INPUTS";
inline constexpr absl::string_view kOutputUnknown = "OUTPUT_UNKNOWN";
inline constexpr absl::string_view kSampling = "SAMPLING";
inline constexpr absl::string_view kLimit = "LIMIT";
inline constexpr absl::string_view kStepIndex = "STEP_INDEX";
inline constexpr absl::string_view kSessionUnknown = "SESSION_UNKNOWN";
inline constexpr absl::string_view kSessionExists = "SESSION_EXISTS";
// A session from elsewhere that is none of this policy.
inline constexpr absl::string_view kRecord = "RECORD";
inline constexpr absl::string_view kContextFull = "CONTEXT_FULL";
inline constexpr absl::string_view kSessionsFull = "SESSIONS_FULL";
inline constexpr absl::string_view kOverloaded = "OVERLOADED";
inline constexpr absl::string_view kDraining = "DRAINING";
inline constexpr absl::string_view kLoading = "LOADING";
inline constexpr absl::string_view kModelVersion = "MODEL_VERSION";
// A weights file that is none, or not of the model in service.
inline constexpr absl::string_view kWeights = "WEIGHTS";
// What arrived of a weights file is not what was announced.
inline constexpr absl::string_view kWeightsDigest = "WEIGHTS_DIGEST";
inline constexpr absl::string_view kWeightsBusy = "WEIGHTS_BUSY";
inline constexpr absl::string_view kWeightsMemory = "WEIGHTS_MEMORY";
inline constexpr absl::string_view kChangesRefused = "CHANGES_REFUSED";
inline constexpr absl::string_view kReadersRefused = "READERS_REFUSED";
inline constexpr absl::string_view kDeadline = "DEADLINE";
inline constexpr absl::string_view kCancelled = "CANCELLED";
// A session that grew beyond the whole KV cache: waiting does not help.
inline constexpr absl::string_view kCacheFull = "CACHE_FULL";
// The policy's scores are no distribution to draw from (NaN or +infinity).
inline constexpr absl::string_view kScores = "SCORES";
// The journal cannot be reached, or what it has of the session is damaged.
inline constexpr absl::string_view kJournal = "JOURNAL";
inline constexpr absl::string_view kInternal = "INTERNAL";
}  // namespace reason

using ErrorMetadata = std::vector<std::pair<std::string, std::string>>;

// A status of `code` with `reason` and `metadata` ({"field", "got", "want"}).
absl::Status Error(absl::StatusCode code, absl::string_view reason,
                   absl::string_view message,
                   const ErrorMetadata& metadata = {});

// The same, telling the client when to come back (google.rpc.RetryInfo).
absl::Status RetryableError(absl::StatusCode code, absl::string_view reason,
                            absl::string_view message,
                            absl::Duration retry_after);

// kUnavailable, DRAINING: this server takes no more; another one, or the next
// one here, will.
absl::Status Draining();

// What Error() put into `status`; empty for a status made otherwise.
std::string ReasonOf(const absl::Status& status);
ErrorMetadata MetadataOf(const absl::Status& status);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMON_ERROR_H_
