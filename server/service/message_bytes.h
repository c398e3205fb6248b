// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Messages from and to the bytes of a call. Left to gRPC, bytes that are no
// message would be answered "unimplemented" and every message would be built
// of single heap objects instead of an arena's.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_SERVICE_MESSAGE_BYTES_H_
#define STEPD_SERVER_SERVICE_MESSAGE_BYTES_H_

#include "absl/status/status.h"

namespace google::protobuf {
class MessageLite;
}
namespace grpc {
class ByteBuffer;
}

namespace stepd {

// Errors: kInvalidArgument  MESSAGE: the bytes are none of this type, or a
//                           string in them is not UTF-8
absl::Status ParseMessage(const grpc::ByteBuffer& bytes,
                          google::protobuf::MessageLite* message);

void SerializeMessage(const google::protobuf::MessageLite& message,
                      grpc::ByteBuffer* bytes);

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_MESSAGE_BYTES_H_
