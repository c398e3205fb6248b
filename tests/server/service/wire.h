// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Messages of the wire, for tests.

#ifndef STEPD_TESTS_SERVER_SERVICE_WIRE_H_
#define STEPD_TESTS_SERVER_SERVICE_WIRE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "proto/stepd/v1/policy_service.pb.h"

namespace stepd {

template <typename T>
v1::Tensor MakeTensor(const std::string& name, v1::DataType dtype,
                      const std::vector<std::int64_t>& shape,
                      const std::vector<T>& values,
                      const std::vector<std::uint32_t>& lengths = {}) {
  v1::Tensor tensor;
  tensor.set_name(name);
  tensor.set_dtype(dtype);
  for (const std::int64_t size : shape) tensor.add_shape(size);
  tensor.set_data(values.data(), values.size() * sizeof(T));
  for (const std::uint32_t length : lengths) tensor.add_lengths(length);
  return tensor;
}

inline v1::Tensor Int64s(const std::string& name,
                         const std::vector<std::int64_t>& shape,
                         const std::vector<std::int64_t>& values,
                         const std::vector<std::uint32_t>& lengths = {}) {
  return MakeTensor(name, v1::DATA_TYPE_INT64, shape, values, lengths);
}

inline v1::Tensor Floats(const std::string& name,
                         const std::vector<std::int64_t>& shape,
                         const std::vector<float>& values,
                         const std::vector<std::uint32_t>& lengths = {}) {
  return MakeTensor(name, v1::DATA_TYPE_FLOAT32, shape, values, lengths);
}

inline std::vector<float> FloatsOf(const v1::Tensor& tensor) {
  std::vector<float> values(tensor.data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  return values;
}

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_SERVICE_WIRE_H_
