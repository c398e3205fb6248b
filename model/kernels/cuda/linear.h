// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// y = W x or y += W x by cuBLASLt, for every shape an algorithm that is looked
// up once. Products are added up in float32; TF32 is never used.
//
// Thread safety: none; one queue owns it. Errors: std::runtime_error.

#ifndef STEPD_MODEL_KERNELS_CUDA_LINEAR_H_
#define STEPD_MODEL_KERNELS_CUDA_LINEAR_H_

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

namespace stepd::kernels::cuda {

// All pointers are on the device.
struct LinearArgs {
  const void* weights = nullptr;  // [out_dim, in_dim], dense
  const void* x = nullptr;        // [rows, in_dim]
  float* y = nullptr;             // [rows, out_dim]
  std::int64_t rows = 0;
  std::int64_t in_dim = 0;
  std::int64_t out_dim = 0;
  std::int64_t x_stride = 0;  // elements between rows
  std::int64_t y_stride = 0;
  bool is_bfloat16 = false;  // weights and x; else float32
  bool is_add = false;
};

class LinearPlans {
 public:
  // `is_deterministic`: one algorithm per linear for any number of rows, and
  // none that splits a sum: a row's bits are then the same beside any others.
  // Uses the device that is current.
  explicit LinearPlans(bool is_deterministic);
  ~LinearPlans();
  LinearPlans(const LinearPlans&) = delete;
  LinearPlans& operator=(const LinearPlans&) = delete;

  void Run(const LinearArgs& args, cudaStream_t stream);

 private:
  struct Plan;
  // Everything that an algorithm depends on.
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::int64_t, bool, bool, std::uint32_t, std::uint32_t,
                         std::uint32_t>;

  static Key KeyOf(const LinearArgs& args);
  Plan& FindOrMake(const LinearArgs& args);
  void ChooseAlgorithm(const LinearArgs& args, Plan* plan);
  void TakeAlgorithmOfAnyRows(const LinearArgs& args, Plan* plan);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  const bool is_deterministic_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_LINEAR_H_
