// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/linear.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "model/kernels/cuda/cuda_check.h"

namespace stepd::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
// More than any policy has linears times row counts that repeat.
constexpr std::size_t kMostPlans = 16384;
// What the one algorithm of the deterministic mode is chosen for.
constexpr std::int64_t kTypicalRows = 128;

void CheckLt(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw std::runtime_error(std::string("cuBLASLt: ") + what + ": " +
                           cublasLtGetStatusString(status));
}

// The largest power of two up to 16 that divides the address.
std::uint32_t AlignmentOf(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address);
  std::uint32_t alignment = 16;
  while (bits % alignment != 0) alignment /= 2;
  return alignment;
}

class Preference {
 public:
  Preference() {
    CheckLt(cublasLtMatmulPreferenceCreate(&preference_), "preference");
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  template <typename T>
  void Set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    CheckLt(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value,
                                                 sizeof(value)),
            "preference");
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace

// cuBLAS counts in columns: W [out, in] row by row is [in, out] column by
// column, x is [in, rows], y is [out, rows], and y = W^T x.
struct LinearPlans::Plan {
  explicit Plan(const LinearArgs& args) {
    const cudaDataType_t type = args.is_bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
    CheckLt(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
            "product");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CheckLt(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA,
                                           &transposed, sizeof(transposed)),
            "product");
    CheckLt(cublasLtMatrixLayoutCreate(&w, type, args.in_dim, args.out_dim,
                                       args.in_dim),
            "layout of weights");
    CheckLt(cublasLtMatrixLayoutCreate(&x, type, args.in_dim, args.rows,
                                       args.x_stride),
            "layout of x");
    CheckLt(cublasLtMatrixLayoutCreate(&y, CUDA_R_32F, args.out_dim, args.rows,
                                       args.y_stride),
            "layout of y");
  }
  ~Plan() {
    if (y != nullptr) cublasLtMatrixLayoutDestroy(y);
    if (x != nullptr) cublasLtMatrixLayoutDestroy(x);
    if (w != nullptr) cublasLtMatrixLayoutDestroy(w);
    if (product != nullptr) cublasLtMatmulDescDestroy(product);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t y = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
};

LinearPlans::LinearPlans(bool is_deterministic)
    : is_deterministic_(is_deterministic) {
  CheckLt(cublasLtCreate(&handle_), "cublasLtCreate");
  Check(cudaMalloc(&workspace_, kWorkspaceBytes), "workspace of cuBLASLt");
}

LinearPlans::~LinearPlans() {
  plans_.clear();
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

LinearPlans::Key LinearPlans::KeyOf(const LinearArgs& args) {
  return {args.rows,           args.in_dim,
          args.out_dim,        args.x_stride,
          args.y_stride,       args.is_bfloat16,
          args.is_add,         AlignmentOf(args.weights),
          AlignmentOf(args.x), AlignmentOf(args.y)};
}

void LinearPlans::ChooseAlgorithm(const LinearArgs& args, Plan* plan) {
  Preference preference;
  preference.Set<std::size_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                              kWorkspaceBytes);
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                 AlignmentOf(args.weights));
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                 AlignmentOf(args.x));
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                 AlignmentOf(args.y));
  preference.Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                 AlignmentOf(args.y));
  if (is_deterministic_) {
    preference.Set<std::uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                  CUBLASLT_REDUCTION_SCHEME_NONE);
  }
  cublasLtMatmulHeuristicResult_t found = {};
  int count = 0;
  CheckLt(cublasLtMatmulAlgoGetHeuristic(handle_, plan->product, plan->w,
                                         plan->x, plan->y, plan->y,
                                         preference.get(), 1, &found, &count),
          "no algorithm for a linear");
  if (count == 0) {
    throw std::runtime_error("cuBLASLt: no algorithm for a linear of " +
                             std::to_string(args.in_dim) + " to " +
                             std::to_string(args.out_dim) + " numbers");
  }
  plan->algorithm = found.algo;
}

// The algorithm of kTypicalRows rows, wherever they lie.
void LinearPlans::TakeAlgorithmOfAnyRows(const LinearArgs& args, Plan* plan) {
  LinearArgs typical = args;
  typical.rows = kTypicalRows;
  plan->algorithm = FindOrMake(typical).algorithm;
  cublasLtMatmulHeuristicResult_t result = {};
  CheckLt(cublasLtMatmulAlgoCheck(handle_, plan->product, plan->w, plan->x,
                                  plan->y, plan->y, &plan->algorithm, &result),
          "deterministic: an algorithm does not run for every number of rows");
  if (result.workspaceSize > kWorkspaceBytes) {
    throw std::runtime_error("cuBLASLt: an algorithm wants too much memory");
  }
}

LinearPlans::Plan& LinearPlans::FindOrMake(const LinearArgs& args) {
  const Key key = KeyOf(args);
  const auto found = plans_.find(key);
  if (found != plans_.end()) return *found->second;
  auto plan = std::make_unique<Plan>(args);
  if (is_deterministic_ && args.rows != kTypicalRows) {
    TakeAlgorithmOfAnyRows(args, plan.get());
  } else {
    ChooseAlgorithm(args, plan.get());
  }
  return *plans_.emplace(key, std::move(plan)).first->second;
}

void LinearPlans::Run(const LinearArgs& args, cudaStream_t stream) {
  if (args.rows == 0) return;
  if (plans_.size() > kMostPlans) plans_.clear();
  const Plan& plan = FindOrMake(args);
  const float alpha = 1.0F;
  const float beta = args.is_add ? 1.0F : 0.0F;
  CheckLt(cublasLtMatmul(handle_, plan.product, &alpha, args.weights, plan.w,
                         args.x, plan.x, &beta, args.y, plan.y, args.y, plan.y,
                         &plan.algorithm, workspace_, kWorkspaceBytes, stream),
          "linear");
}

}  // namespace stepd::kernels::cuda
