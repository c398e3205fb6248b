// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Builds weights files byte by byte, well-formed ones and others.
//
// Thread safety: reentrant.

#ifndef STEPD_TESTS_MODEL_CHECKPOINT_WEIGHTS_FILES_H_
#define STEPD_TESTS_MODEL_CHECKPOINT_WEIGHTS_FILES_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace stepd::checkpoint {

// An empty directory for the running test.
std::filesystem::path MakeTestDirectory();
// Writes a file into it and returns its path.
std::string WriteTestFile(const std::string& name, const std::string& bytes);
std::string ReadTestFile(const std::filesystem::path& path);

// The header, behind its size, and `num_data_bytes` bytes of data.
std::string MakeSafetensors(const std::string& header,
                            std::size_t num_data_bytes);

struct ZipMember {
  std::string name;
  std::string data;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
};
std::string MakeZip(const std::vector<ZipMember>& members);

// Pieces of a pickle of protocol 2.
std::string PickleInt(std::int32_t value);
std::string PickleString(const std::string& text);
std::string PickleGlobal(const std::string& module, const std::string& name);
std::string PickleTuple(const std::vector<std::string>& items);

struct TensorPickle {
  std::string name = "w";
  std::string storage = "FloatStorage";
  std::string key = "0";
  std::int32_t num_elements = 6;  // of the storage
  std::int32_t offset = 0;
  std::vector<std::int32_t> shape = {2, 3};
  std::vector<std::int32_t> strides = {3, 1};
};
// The call that rebuilds the tensor.
std::string PickleTensor(const TensorPickle& tensor);
// PROTO, an OrderedDict of the tensors, STOP.
std::string PickleStateDict(const std::vector<TensorPickle>& tensors);
// A torch file with this data.pkl and one storage, "0".
std::string MakeTorchFile(const std::string& pickle,
                          const std::string& storage);

}  // namespace stepd::checkpoint

#endif  // STEPD_TESTS_MODEL_CHECKPOINT_WEIGHTS_FILES_H_
