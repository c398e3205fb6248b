// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Threads that compute some columns of another thread's linears, while the
// cores they are on have nothing else to do. A few rows wait for weights, and
// each core fetches as much again beside the first; so one session's step is
// as fast as the cores together can read the weights.
//
//   forward's thread   Begin ─ Run ─ Run ─ … ─ End     takes grains of columns
//   companion          sleeps, spins from the first Run to End, takes grains
//   too
//
// Nobody waits for a companion that its core has put aside: what it took and
// does not finish in time is computed again, and it gets no more until it is
// back. One that was late is left alone for a while. Columns are computed one
// by one whoever does it, so that the bits are those of one thread.

#ifndef STEPD_MODEL_KERNELS_COMPANIONS_H_
#define STEPD_MODEL_KERNELS_COMPANIONS_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "model/kernels/cpu_kernels.h"

namespace stepd::kernels {

// Thread safety: forwards on any threads; one of them at a time has the
// companions, and only while it is the only one.
class Companions {
 public:
  using Kernel = void (*)(const CpuLinearArgs& args);

  // `panel`: columns per panel of the kernels' weights.
  Companions(int count, int panel);
  ~Companions();
  Companions(const Companions&) = delete;
  Companions& operator=(const Companions&) = delete;

  // Around all linears of one forward of `rows` tokens, on its thread.
  void Begin(std::int64_t rows);
  void End();

  // kernel(args) in shares. False: nothing was done, the caller is to do it
  // alone.
  bool Run(const CpuLinearArgs& args, Kernel kernel);

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kLeastRest = std::chrono::milliseconds(2);

  bool IsOwner() const;
  // Wakes the companions, has them sleep.
  void Engage();
  void Disengage();
  void OnLate();
  bool IsWorthSharing(const CpuLinearArgs& args) const;
  // Whether companions still compute grains of the last job.
  bool HasLateGrains();
  void Post(const CpuLinearArgs& args, Kernel kernel);
  // The next grain of the job that is posted. False: there is none.
  bool Take(std::uint32_t* grain);
  // The columns of a grain, with y as in `args`.
  CpuLinearArgs GrainOf(const CpuLinearArgs& args, std::uint32_t grain) const;
  bool WaitFor(std::uint32_t grain) const;
  // A companion's result to where the caller wants it.
  void Merge(const CpuLinearArgs& args, std::uint32_t grain) const;
  void Serve();

  const int panel_;

  std::atomic<int> num_forwards_{0};
  // The forward that has the companions, by an address that is its thread's.
  std::atomic<const void*> owner_{nullptr};

  // The owner's.
  bool may_engage_ = false;
  bool is_shared_ = false;  // this forward has engaged them
  Clock::duration rest_ = kLeastRest;
  Clock::time_point rest_until_;

  // The job. Written by the owner while no grain of it is with a companion.
  CpuLinearArgs job_ = {};  // of x_ and y_
  Kernel kernel_ = nullptr;
  std::int64_t grain_columns_ = 0;
  std::vector<float> x_;             // [rows, in_words]
  std::vector<float> y_;             // [rows, out_dim]
  std::uint32_t generation_ = 0;     // of the job
  std::uint32_t num_grains_ = 0;     // of the job
  std::vector<bool> is_companions_;  // [grains] who took it
  // Generation of the job for which a companion has computed the grain.
  std::vector<std::atomic<std::uint32_t>> done_;
  // Generation, grains, grains taken: 32, 16 and 16 bits.
  std::atomic<std::uint64_t> ticket_{0};

  std::mutex mu_;
  std::condition_variable changed_;
  std::atomic<bool> is_engaged_{false};
  bool is_stopping_ = false;          // under mu_
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_COMPANIONS_H_
