// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/zip_archive.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/byte_reader.h"

namespace stepd::checkpoint {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEndOfDirectory = 0x06054b50;
constexpr std::size_t kEndOfDirectoryBytes = 22;

// torch.save always adds the 64-bit records, also when nothing needs them.
constexpr absl::string_view kZip64Signature = "PK\x06\x06";
constexpr std::size_t kZip64Bytes = 56 + 20;
constexpr std::uint32_t kInZip64 = 0xffffffff;

// Sizes stand behind the data (bit 3), the name is UTF-8 (bit 11).
constexpr std::uint16_t kAllowedFlags = 0x0808;
constexpr std::uint16_t kEncrypted = 0x0001;
constexpr std::uint16_t kStored = 0;

struct Directory {
  std::uint32_t num_members = 0;
  std::size_t begin = 0;
  absl::string_view bytes;
};

struct Member {
  std::string name;
  std::uint16_t flags = 0;
  std::uint32_t size = 0;
  std::size_t begin = 0;  // of its local header
  std::size_t end = 0;    // of its data
  absl::string_view data;
};

absl::Status Truncated(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("ends within ", what));
}

absl::Status MemberError(const Member& member, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("member '", member.name, "' ", problem));
}

absl::StatusOr<Directory> FindDirectory(absl::string_view archive) {
  if (archive.size() < kEndOfDirectoryBytes) {
    return absl::InvalidArgumentError("is too short for a ZIP file");
  }
  const std::size_t end = archive.size() - kEndOfDirectoryBytes;
  ByteReader reader(archive.substr(end));
  std::uint32_t signature = 0;
  std::uint16_t disk = 0, directory_disk = 0, members_here = 0, members = 0;
  std::uint32_t size = 0, offset = 0;
  std::uint16_t comment_size = 0;
  reader.Read(&signature);
  reader.Read(&disk);
  reader.Read(&directory_disk);
  reader.Read(&members_here);
  reader.Read(&members);
  reader.Read(&size);
  reader.Read(&offset);
  reader.Read(&comment_size);
  if (signature != kEndOfDirectory || comment_size != 0) {
    return absl::InvalidArgumentError(
        "does not end with a ZIP directory: it is truncated, or no ZIP file");
  }
  if (disk != 0 || directory_disk != 0 || members_here != members) {
    return absl::InvalidArgumentError("is one part of a split ZIP file");
  }
  if (size == kInZip64 || offset == kInZip64 || members == 0xffff) {
    return absl::InvalidArgumentError(
        "is a ZIP file over 4 GiB; save it as safetensors");
  }
  if (std::uint64_t{offset} + size > end) {
    return absl::InvalidArgumentError("the ZIP directory is out of bounds");
  }
  const absl::string_view gap = archive.substr(0, end).substr(offset + size);
  if (!gap.empty() &&
      !(gap.size() == kZip64Bytes && absl::StartsWith(gap, kZip64Signature))) {
    return absl::InvalidArgumentError(
        "has stray bytes behind the ZIP directory");
  }
  return Directory{members, offset, archive.substr(offset, size)};
}

// Reads one entry of the directory.
absl::StatusOr<Member> ReadCentralHeader(ByteReader* reader) {
  Member member;
  std::uint32_t signature = 0, time_and_date = 0, crc = 0, packed_size = 0;
  std::uint16_t made_by = 0, needed = 0, method = 0;
  std::uint16_t name_size = 0, extra_size = 0, comment_size = 0, disk = 0;
  std::uint16_t internal = 0;
  std::uint32_t external = 0, offset = 0;
  absl::string_view name, extra, comment;
  const bool is_whole = reader->Read(&signature) && reader->Read(&made_by) &&
                        reader->Read(&needed) && reader->Read(&member.flags) &&
                        reader->Read(&method) && reader->Read(&time_and_date) &&
                        reader->Read(&crc) && reader->Read(&packed_size) &&
                        reader->Read(&member.size) &&
                        reader->Read(&name_size) && reader->Read(&extra_size) &&
                        reader->Read(&comment_size) && reader->Read(&disk) &&
                        reader->Read(&internal) && reader->Read(&external) &&
                        reader->Read(&offset) &&
                        reader->ReadBytes(name_size, &name) &&
                        reader->ReadBytes(extra_size, &extra) &&
                        reader->ReadBytes(comment_size, &comment);
  if (!is_whole) return Truncated("the ZIP directory");
  if (signature != kCentralHeader) {
    return absl::InvalidArgumentError("has a damaged ZIP directory");
  }
  member.name = std::string(name);
  member.begin = offset;
  if ((member.flags & kEncrypted) != 0) {
    return MemberError(member, "is encrypted");
  }
  if (method != kStored || packed_size != member.size) {
    return MemberError(member, "is compressed");
  }
  if ((member.flags & ~kAllowedFlags) != 0 || disk != 0) {
    return MemberError(member, "has flags that are not read");
  }
  if (member.size == kInZip64 || offset == kInZip64) {
    return MemberError(member, "is over 4 GiB; save as safetensors");
  }
  return member;
}

// Finds the data behind the member's own header, which must tell the same.
// `body` is the file up to the directory.
absl::Status ReadLocalHeader(absl::string_view body, Member* member) {
  if (member->begin > body.size()) {
    return MemberError(*member, "begins behind the ZIP directory");
  }
  ByteReader reader(body.substr(member->begin));
  std::uint32_t signature = 0, time_and_date = 0, crc = 0;
  std::uint32_t packed_size = 0, size = 0;
  std::uint16_t needed = 0, flags = 0, method = 0;
  std::uint16_t name_size = 0, extra_size = 0;
  absl::string_view name, extra;
  const bool is_whole = reader.Read(&signature) && reader.Read(&needed) &&
                        reader.Read(&flags) && reader.Read(&method) &&
                        reader.Read(&time_and_date) && reader.Read(&crc) &&
                        reader.Read(&packed_size) && reader.Read(&size) &&
                        reader.Read(&name_size) && reader.Read(&extra_size) &&
                        reader.ReadBytes(name_size, &name) &&
                        reader.ReadBytes(extra_size, &extra) &&
                        reader.ReadBytes(member->size, &member->data);
  if (!is_whole) return MemberError(*member, "runs into the ZIP directory");
  if (signature != kLocalHeader || flags != member->flags ||
      method != kStored || name != member->name) {
    return MemberError(*member, "has two headers that disagree");
  }
  member->end = member->begin + reader.position();
  return absl::OkStatus();
}

absl::Status CheckDisjoint(std::vector<Member>* members) {
  std::sort(members->begin(), members->end(),
            [](const Member& a, const Member& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < members->size(); ++i) {
    if ((*members)[i].begin < (*members)[i - 1].end) {
      return MemberError((*members)[i], "overlaps its neighbour");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, absl::string_view>> ReadZipArchive(
    absl::string_view archive) {
  absl::StatusOr<Directory> directory = FindDirectory(archive);
  if (!directory.ok()) return directory.status();

  std::vector<Member> members;
  ByteReader reader(directory->bytes);
  for (std::uint32_t i = 0; i < directory->num_members; ++i) {
    absl::StatusOr<Member> member = ReadCentralHeader(&reader);
    if (!member.ok()) return member.status();
    if (absl::Status local =
            ReadLocalHeader(archive.substr(0, directory->begin), &*member);
        !local.ok()) {
      return local;
    }
    members.push_back(*std::move(member));
  }
  if (reader.remaining() != 0) {
    return absl::InvalidArgumentError(
        "has more members than its ZIP directory"
        " counts");
  }
  if (absl::Status s = CheckDisjoint(&members); !s.ok()) return s;

  std::map<std::string, absl::string_view> data;
  for (const Member& member : members) {
    if (!data.emplace(member.name, member.data).second) {
      return MemberError(member, "is there twice");
    }
  }
  return data;
}

}  // namespace stepd::checkpoint
