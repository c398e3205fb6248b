// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs a GPU's kernels on the CPU: blocks one after another, the threads of a
// block as fibers that switch only where they wait for each other. A kernel
// that would hang or read a lane that has left ends the program with a message.
//
// Thread safety: one kernel at a time per thread.

#ifndef STEPD_TESTS_FAKES_CUDA_SIMT_H_
#define STEPD_TESTS_FAKES_CUDA_SIMT_H_

#include <cstddef>
#include <cstring>
#include <functional>

namespace stepd::simt {

struct Index {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

// Of the fiber that runs.
extern thread_local Index thread_index;
extern thread_local Index block_index;
extern thread_local Index grid_size;

void RunGrid(Index grid, unsigned threads, std::size_t shared_bytes,
             const std::function<void()>& kernel);

unsigned char* SharedMemory();

// Waits for all threads of the block that have not ended.
void SyncThreads();

int ThisLane();
// Puts `bits` where other lanes can read them, waits for all lanes of the warp
// and gives what `lane` has put.
unsigned long long ShuffleBits(unsigned long long bits, int lane);

template <typename T>
T Shuffle(T x, int lane) {
  static_assert(sizeof(T) <= sizeof(unsigned long long), "one word");
  unsigned long long bits = 0;
  std::memcpy(&bits, &x, sizeof(T));
  bits = ShuffleBits(bits, lane);
  std::memcpy(&x, &bits, sizeof(T));
  return x;
}

// Asynchronous copies of this thread.
void CopyLater(void* to, const void* from, std::size_t bytes);
void CommitCopies();
// Until at most `count` of the commits are not made.
void WaitForCopies(std::size_t count);

}  // namespace stepd::simt

#endif  // STEPD_TESTS_FAKES_CUDA_SIMT_H_
