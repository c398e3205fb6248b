// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/peak_flops.h"

#include <algorithm>

#include "tools/bench_cc/cpu_clock.h"

namespace stepd::bench {
namespace {

constexpr int kRepetitions = 5;
constexpr long kIterations = 1000000;

#if defined(__x86_64__)

// Twelve sums that do not wait for each other. In assembly, because a compiler
// may fold or spill what it understands.
constexpr int kSums = 12;

__attribute__((target("avx512f"))) void Avx512Loop() {
  asm volatile(
      "vzeroall\n vpxord %%zmm30, %%zmm30, %%zmm30\n"
      "vpxord %%zmm31, %%zmm31, %%zmm31" ::
          : "memory");
  for (long i = 0; i < kIterations; ++i) {
    asm volatile(
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm0\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm1\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm2\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm3\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm4\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm5\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm6\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm7\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm8\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm9\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm10\n"
        "vfmadd213ps %%zmm31, %%zmm30, %%zmm11\n" ::
            : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7",
              "zmm8", "zmm9", "zmm10", "zmm11");
  }
}

__attribute__((target("avx2,fma"))) void Avx2Loop() {
  asm volatile("vzeroall" ::: "memory");
  for (long i = 0; i < kIterations; ++i) {
    asm volatile(
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm0\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm1\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm2\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm3\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm4\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm5\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm6\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm7\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm8\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm9\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm10\n"
        "vfmadd213ps %%ymm15, %%ymm14, %%ymm11\n" ::
            : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7",
              "ymm8", "ymm9", "ymm10", "ymm11");
  }
}

// The best of some repetitions: what a neighbour takes away is not the core's.
double Measure(void (*loop)(), int lanes) {
  double best = 0.0;
  for (int i = 0; i < kRepetitions; ++i) {
    const double begin = ThreadCpuSeconds();
    loop();
    const double flops = 2.0 * kSums * lanes * kIterations;
    best = std::max(best, flops / (ThreadCpuSeconds() - begin));
  }
  return best;
}

#endif

}  // namespace

double MeasurePeakFlops() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Measure(Avx512Loop, 16);
  if (__builtin_cpu_supports("fma")) return Measure(Avx2Loop, 8);
#endif
  return 0.0;
}

double LinearFlopsPerStep(const PolicySpec& spec) {
  double flops = 0.0;
  for (const LayerSpec& layer : spec.layers) {
    flops += 2.0 * static_cast<double>(layer.num_parameters) * layer.num_visits;
  }
  return flops * spec.max_tokens_per_step;
}

}  // namespace stepd::bench
