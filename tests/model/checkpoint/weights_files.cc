// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/checkpoint/weights_files.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;

template <typename Integer>
std::string Bytes(Integer value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string Bytes16(std::size_t value) {
  return Bytes(static_cast<std::uint16_t>(value));
}

std::string Bytes32(std::size_t value) {
  return Bytes(static_cast<std::uint32_t>(value));
}

fs::path TestDirectory() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(info->test_suite_name()) + "." + info->name();
  std::replace(name.begin(), name.end(), '/', '_');
  return fs::path(::testing::TempDir()) / name;
}

std::string PickleInts(const std::vector<std::int32_t>& values) {
  std::vector<std::string> items;
  for (std::int32_t value : values) items.push_back(PickleInt(value));
  return PickleTuple(items);
}

}  // namespace

fs::path MakeTestDirectory() {
  fs::remove_all(TestDirectory());
  fs::create_directories(TestDirectory());
  return TestDirectory();
}

std::string WriteTestFile(const std::string& name, const std::string& bytes) {
  fs::create_directories(TestDirectory());
  const fs::path path = TestDirectory() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path.string();
}

std::string ReadTestFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string MakeSafetensors(const std::string& header,
                            std::size_t num_data_bytes) {
  return Bytes(std::uint64_t{header.size()}) + header +
         std::string(num_data_bytes, '\1');
}

std::string MakeZip(const std::vector<ZipMember>& members) {
  std::string body;
  std::string directory;
  for (const ZipMember& member : members) {
    // Version, flags, method, time and date, checksum, two sizes, length of the
    // name, length of the extra field: both headers have these.
    const std::string common =
        Bytes16(0) + Bytes16(member.flags) + Bytes16(member.method) +
        Bytes32(0) + Bytes32(0) + Bytes32(member.data.size()) +
        Bytes32(member.data.size()) + Bytes16(member.name.size()) + Bytes16(0);
    directory += "PK\x01\x02" + Bytes16(0) + common + Bytes16(0) + Bytes16(0) +
                 Bytes16(0) + Bytes32(0) + Bytes32(body.size()) + member.name;
    body += "PK\x03\x04" + common + member.name + member.data;
  }
  return body + directory + "PK\x05\x06" + Bytes32(0) +
         Bytes16(members.size()) + Bytes16(members.size()) +
         Bytes32(directory.size()) + Bytes32(body.size()) + Bytes16(0);
}

std::string PickleInt(std::int32_t value) { return "J" + Bytes(value); }

std::string PickleString(const std::string& text) {
  return "X" + Bytes32(text.size()) + text;
}

std::string PickleGlobal(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

std::string PickleTuple(const std::vector<std::string>& items) {
  std::string tuple = "(";
  for (const std::string& item : items) tuple += item;
  return tuple + "t";
}

std::string PickleTensor(const TensorPickle& tensor) {
  const std::string storage = PickleTuple(
      {PickleString("storage"), PickleGlobal("torch", tensor.storage),
       PickleString(tensor.key), PickleString("cpu"),
       PickleInt(tensor.num_elements)});
  return PickleGlobal("torch._utils", "_rebuild_tensor_v2") +
         PickleTuple({storage + "Q", PickleInt(tensor.offset),
                      PickleInts(tensor.shape), PickleInts(tensor.strides),
                      "\x89", "}"}) +
         "R";
}

std::string PickleStateDict(const std::vector<TensorPickle>& tensors) {
  std::string pickle =
      "\x80\x02" + PickleGlobal("collections", "OrderedDict") + ")R(";
  for (const TensorPickle& tensor : tensors) {
    pickle += PickleString(tensor.name) + PickleTensor(tensor);
  }
  return pickle + "u.";
}

std::string MakeTorchFile(const std::string& pickle,
                          const std::string& storage) {
  return MakeZip({{"root/data.pkl", pickle},
                  {"root/byteorder", "little"},
                  {"root/data/0", storage}});
}

}  // namespace stepd::checkpoint
