// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/fakes/cuda/simt.h"

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

namespace stepd::simt {

thread_local Index thread_index;
thread_local Index block_index;
thread_local Index grid_size;

namespace {

constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = std::size_t{128} << 10;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "simt: %s (block %u, %u, %u; thread %u)\n", what,
               block_index.x, block_index.y, block_index.z, thread_index.x);
  std::abort();
}

// Of threads that wait for each other: opens when all have come, again and
// again.
struct Barrier {
  unsigned num_waiting = 0;
  unsigned long long generation = 0;
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};

struct Fiber {
  ucontext_t context;
  std::vector<unsigned char> stack = std::vector<unsigned char>(kStackBytes);
  bool has_ended = false;
  // Of lanes that read each other: those of one shuffle while the next one's
  // are written.
  std::array<unsigned long long, 2> shuffled = {};
  unsigned long long num_shuffles = 0;
  std::vector<Copy> copies;  // not committed
  std::deque<std::vector<Copy>> commits;
};

struct Block {
  unsigned num_threads = 0;
  unsigned num_running = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;  // kept from block to block
  Barrier all;
  std::vector<Barrier> warps;
  std::vector<unsigned char> shared;
  ucontext_t scheduler;
  unsigned long long num_events = 0;  // what shows that somebody got on
};

thread_local Block block;

Fiber& Current() { return *block.fibers[thread_index.x]; }

void SwitchAway() { swapcontext(&Current().context, &block.scheduler); }

void OpenIfAllCame(Barrier* barrier, unsigned num_expected) {
  if (barrier->num_waiting < num_expected) return;
  barrier->num_waiting = 0;
  ++barrier->generation;
  ++block.num_events;
}

void WaitAt(Barrier* barrier, unsigned num_expected) {
  const unsigned long long generation = barrier->generation;
  ++barrier->num_waiting;
  ++block.num_events;
  OpenIfAllCame(barrier, num_expected);
  while (barrier->generation == generation) SwitchAway();
}

void RunFiber() {
  (*block.kernel)();
  Fiber& fiber = Current();
  if (!fiber.copies.empty()) Fail("a thread ends with copies not committed");
  fiber.has_ended = true;
  --block.num_running;
  ++block.num_events;
  // Those that wait for all need not wait for this one.
  if (block.num_running > 0) OpenIfAllCame(&block.all, block.num_running);
  SwitchAway();
}

void StartFiber(Fiber* fiber) {
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.data();
  fiber->context.uc_stack.ss_size = fiber->stack.size();
  fiber->context.uc_link = &block.scheduler;
  makecontext(&fiber->context, RunFiber, 0);
  fiber->has_ended = false;
  fiber->num_shuffles = 0;
  fiber->copies.clear();
  fiber->commits.clear();
}

void RunBlock() {
  block.num_running = block.num_threads;
  block.all = {};
  block.warps.assign((block.num_threads + kWarp - 1) / kWarp, {});
  std::fill(block.shared.begin(), block.shared.end(), 0xff);  // NaN
  while (block.fibers.size() < block.num_threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
  }
  for (unsigned t = 0; t < block.num_threads; ++t) {
    StartFiber(block.fibers[t].get());
  }
  while (block.num_running > 0) {
    const unsigned long long events = block.num_events;
    for (unsigned t = 0; t < block.num_threads; ++t) {
      thread_index.x = t;
      if (Current().has_ended) continue;
      swapcontext(&block.scheduler, &Current().context);
    }
    if (block.num_events == events) Fail("threads wait for each other");
  }
}

}  // namespace

void RunGrid(Index grid, unsigned threads, std::size_t shared_bytes,
             const std::function<void()>& kernel) {
  grid_size = grid;
  block.num_threads = threads;
  block.kernel = &kernel;
  block.shared.resize(shared_bytes + 16);
  for (block_index.z = 0; block_index.z < grid.z; ++block_index.z) {
    for (block_index.y = 0; block_index.y < grid.y; ++block_index.y) {
      for (block_index.x = 0; block_index.x < grid.x; ++block_index.x) {
        RunBlock();
      }
    }
  }
}

unsigned char* SharedMemory() {
  void* memory = block.shared.data();
  std::size_t space = block.shared.size();
  return static_cast<unsigned char*>(std::align(16, 1, memory, space));
}

void SyncThreads() { WaitAt(&block.all, block.num_running); }

int ThisLane() { return static_cast<int>(thread_index.x % kWarp); }

unsigned long long ShuffleBits(unsigned long long bits, int lane) {
  const unsigned first = thread_index.x / kWarp * kWarp;
  for (unsigned t = first; t < first + kWarp; ++t) {
    if (t >= block.num_threads || block.fibers[t]->has_ended) {
      Fail("a shuffle with lanes that have left");
    }
  }
  Fiber& mine = Current();
  const auto slot = static_cast<std::size_t>(mine.num_shuffles++ % 2);
  mine.shuffled[slot] = bits;
  WaitAt(&block.warps[first / kWarp], kWarp);
  return block.fibers[first + static_cast<unsigned>(lane)]->shuffled[slot];
}

void CopyLater(void* to, const void* from, std::size_t bytes) {
  Current().copies.push_back({to, from, bytes});
}

void CommitCopies() {
  Fiber& fiber = Current();
  fiber.commits.push_back(std::move(fiber.copies));
  fiber.copies.clear();
}

void WaitForCopies(std::size_t count) {
  std::deque<std::vector<Copy>>& commits = Current().commits;
  for (; commits.size() > count; commits.pop_front()) {
    for (const Copy& copy : commits.front()) {
      std::memcpy(copy.to, copy.from, copy.bytes);
    }
  }
}

}  // namespace stepd::simt
