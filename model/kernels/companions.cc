// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/companions.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

namespace stepd::kernels {
namespace {

// More rows compute for longer than they wait for weights.
constexpr std::int64_t kMostRows = 16;
// A linear of less weights is over before a companion has seen it.
constexpr std::int64_t kLeastBytes = 128 << 10;
constexpr std::int64_t kGrainBytes = 64 << 10;
constexpr std::uint32_t kMostGrains = 1024;
// A grain takes a few microseconds: what takes longer has lost its core.
constexpr auto kPatience = std::chrono::microseconds(30);
// Who was late is left alone for so long, and longer each time.
constexpr std::chrono::steady_clock::duration kMostRest =
    std::chrono::milliseconds(16);
// Looks at an atomic before the clock, or another thread, has its turn.
constexpr int kSpins = 64;

constexpr int kTakenBits = 16;
constexpr std::uint64_t kTakenMask = (1 << kTakenBits) - 1;

std::uint64_t TicketOf(std::uint32_t generation, std::uint32_t grains) {
  return std::uint64_t{generation} << 32 | grains << kTakenBits;
}

// An address of the calling thread's own.
const void* ThisThread() {
  thread_local char tag = 0;
  return &tag;
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

std::int64_t BytesPerColumn(const CpuLinearArgs& args) {
  return args.in_words * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

Companions::Companions(int count, int panel)
    : panel_(panel), is_companions_(kMostGrains), done_(kMostGrains) {
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { Serve(); });
}

Companions::~Companions() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Companions::IsOwner() const {
  return owner_.load(std::memory_order_relaxed) == ThisThread();
}

void Companions::Begin(std::int64_t rows) {
  const int others = num_forwards_.fetch_add(1, std::memory_order_relaxed);
  if (threads_.empty() || rows > kMostRows || others > 0) return;
  const void* none = nullptr;
  if (!owner_.compare_exchange_strong(none, ThisThread(),
                                      std::memory_order_acquire)) {
    return;
  }
  may_engage_ = Clock::now() >= rest_until_;
}

void Companions::Engage() {
  may_engage_ = false;
  is_shared_ = true;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    is_engaged_.store(true, std::memory_order_relaxed);
  }
  changed_.notify_all();
}

void Companions::Disengage() {
  is_shared_ = false;
  is_engaged_.store(false, std::memory_order_relaxed);
}

void Companions::OnLate() {
  Disengage();
  rest_until_ = Clock::now() + rest_;
  rest_ = std::min(2 * rest_, kMostRest);
}

void Companions::End() {
  num_forwards_.fetch_sub(1, std::memory_order_relaxed);
  if (!IsOwner()) return;
  may_engage_ = false;
  if (is_shared_) rest_ = std::max(rest_ / 2, kLeastRest);
  Disengage();
  owner_.store(nullptr, std::memory_order_release);
}

bool Companions::IsWorthSharing(const CpuLinearArgs& args) const {
  return args.out_dim * BytesPerColumn(args) >= kLeastBytes;
}

bool Companions::HasLateGrains() {
  for (std::uint32_t i = 0; i < num_grains_; ++i) {
    if (is_companions_[i] &&
        done_[i].load(std::memory_order_acquire) != generation_) {
      return true;
    }
  }
  num_grains_ = 0;
  return false;
}

bool Companions::Run(const CpuLinearArgs& args, Kernel kernel) {
  if (!IsOwner() || !(may_engage_ || is_shared_)) return false;
  if (!IsWorthSharing(args) || HasLateGrains()) return false;
  // Another forward wants the cores.
  if (num_forwards_.load(std::memory_order_relaxed) > 1) {
    Disengage();
    return false;
  }
  if (may_engage_) Engage();
  Post(args, kernel);
  std::uint32_t grain = 0;
  while (Take(&grain)) {
    is_companions_[grain] = false;
    kernel(GrainOf(args, grain));
  }
  for (grain = 0; grain < num_grains_; ++grain) {
    if (!is_companions_[grain]) continue;
    if (WaitFor(grain)) {
      Merge(args, grain);
    } else {
      kernel(GrainOf(args, grain));
      OnLate();
    }
  }
  return true;
}

void Companions::Post(const CpuLinearArgs& args, Kernel kernel) {
  const std::int64_t panel_bytes = panel_ * BytesPerColumn(args);
  const std::int64_t num_panels = (args.out_dim + panel_ - 1) / panel_;
  const std::int64_t grain_panels =
      std::max((kGrainBytes + panel_bytes - 1) / panel_bytes,
               (num_panels + kMostGrains - 1) / kMostGrains);
  grain_columns_ = grain_panels * panel_;
  num_grains_ = static_cast<std::uint32_t>((num_panels + grain_panels - 1) /
                                           grain_panels);
  kernel_ = kernel;
  const std::int64_t readable = (args.rows + kLinearRowsReadable - 1) /
                                kLinearRowsReadable * kLinearRowsReadable;
  const auto x_size = static_cast<std::size_t>(readable * args.in_words);
  const auto y_size = static_cast<std::size_t>(args.rows * args.out_dim);
  if (x_.size() < x_size) x_.resize(x_size);
  if (y_.size() < y_size) y_.resize(y_size);
  job_ = args;
  job_.x = x_.data();
  job_.x_stride = args.in_words;
  job_.y = y_.data();
  job_.y_stride = args.out_dim;
  job_.is_add = false;
  for (std::int64_t i = 0; i < args.rows; ++i) {
    std::memcpy(x_.data() + i * args.in_words, args.x + i * args.x_stride,
                static_cast<std::size_t>(BytesPerColumn(args)));
  }
  std::fill_n(is_companions_.begin(), num_grains_, true);
  ++generation_;
  ticket_.store(TicketOf(generation_, num_grains_), std::memory_order_release);
}

bool Companions::Take(std::uint32_t* grain) {
  std::uint64_t ticket = ticket_.load(std::memory_order_relaxed);
  do {
    const std::uint64_t taken = ticket & kTakenMask;
    if (taken >= (ticket >> kTakenBits & kTakenMask)) return false;
    *grain = static_cast<std::uint32_t>(taken);
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1,
                                          std::memory_order_acquire,
                                          std::memory_order_relaxed));
  return true;
}

CpuLinearArgs Companions::GrainOf(const CpuLinearArgs& args,
                                  std::uint32_t grain) const {
  const std::int64_t first = grain * grain_columns_;
  CpuLinearArgs part = args;
  part.panels += first * args.in_words;
  if (args.bias != nullptr) part.bias += first;
  part.y += first;
  part.out_dim = std::min(grain_columns_, args.out_dim - first);
  return part;
}

bool Companions::WaitFor(std::uint32_t grain) const {
  const auto is_done = [&] {
    return done_[grain].load(std::memory_order_acquire) == generation_;
  };
  if (is_done()) return true;
  const Clock::time_point end = Clock::now() + kPatience;
  do {
    for (int i = 0; i < kSpins; ++i) {
      if (is_done()) return true;
      Pause();
    }
  } while (Clock::now() < end);
  return false;
}

void Companions::Merge(const CpuLinearArgs& args, std::uint32_t grain) const {
  const CpuLinearArgs to = GrainOf(args, grain);
  const CpuLinearArgs from = GrainOf(job_, grain);
  for (std::int64_t i = 0; i < args.rows; ++i) {
    float* y = to.y + i * to.y_stride;
    const float* sums = from.y + i * from.y_stride;
    if (!args.is_add) {
      std::memcpy(y, sums,
                  static_cast<std::size_t>(to.out_dim) * sizeof(float));
      continue;
    }
    for (std::int64_t j = 0; j < to.out_dim; ++j) y[j] += sums[j];
  }
}

void Companions::Serve() {
  pthread_setname_np(pthread_self(), "stepd-companion");
  std::unique_lock<std::mutex> lock(mu_);
  while (!is_stopping_) {
    if (!is_engaged_.load(std::memory_order_relaxed)) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    int spins = 0;
    while (is_engaged_.load(std::memory_order_relaxed)) {
      std::uint32_t grain = 0;
      if (Take(&grain)) {
        const std::uint32_t generation = generation_;
        kernel_(GrainOf(job_, grain));
        done_[grain].store(generation, std::memory_order_release);
        spins = 0;
      } else if (++spins % kSpins == 0) {
        std::this_thread::yield();
      } else {
        Pause();
      }
    }
    lock.lock();
  }
}

}  // namespace stepd::kernels
