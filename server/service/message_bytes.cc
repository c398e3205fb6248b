// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/message_bytes.h"

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {
namespace {

bool Parse(const grpc::ByteBuffer& bytes,
           google::protobuf::MessageLite* message) {
  if (!bytes.Valid()) return false;
  grpc::Slice slice;
  // The common case: one slice, parsed in place.
  if (bytes.TrySingleSlice(&slice).ok()) {
    return slice.size() <=
               static_cast<std::size_t>(std::numeric_limits<int>::max()) &&
           message->ParseFromArray(slice.begin(),
                                   static_cast<int>(slice.size()));
  }
  grpc::ByteBuffer shared(bytes);  // the slices, not their bytes
  grpc::ProtoBufferReader reader(&shared);
  return reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes,
                          google::protobuf::MessageLite* message) {
  if (Parse(bytes, message)) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, reason::kMessage,
               absl::StrCat("the request is no ", message->GetTypeName(),
                            " (are its strings UTF-8?)"));
}

void SerializeMessage(const google::protobuf::MessageLite& message,
                      grpc::ByteBuffer* bytes) {
  grpc::Slice slice(message.ByteSizeLong());
  // A slice that nobody else has seen may be written.
  message.SerializeWithCachedSizesToArray(
      const_cast<std::uint8_t*>(slice.begin()));
  grpc::ByteBuffer whole(&slice, 1);
  bytes->Swap(&whole);
}

}  // namespace stepd
