// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/support/queued_kernel_set.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model/kernels/cpu_kernel_set.h"

namespace stepd {
namespace {

using kernels::BatchLayout;
using kernels::DeviceQueue;
using kernels::KernelSet;

class NotRecordable : public std::exception {};

using Work = std::function<void()>;

struct HostCopy {
  std::vector<float> values;
  float* host = nullptr;
};

class QueuedGraph : public DeviceQueue::Graph {
 public:
  std::vector<Work> work;
  // Where its answers lie until the host waits, one per copy.
  std::vector<std::shared_ptr<HostCopy>> copies;
};

class Queue : public DeviceQueue {
 public:
  explicit Queue(QueueCounts* counts) : counts_(*counts) {}
  ~Queue() override {
    if (current == this) current = nullptr;
  }

  static Queue& Current() {
    if (current == nullptr) throw std::logic_error("no queue is in use");
    return *current;
  }

  void Reserve(std::int64_t rows, std::int64_t /*num_blocks*/) override {
    Grow(rows);
  }
  void Use() override { current = this; }
  std::int64_t generation() const override { return generation_; }

  std::unique_ptr<Graph> Record(absl::FunctionRef<void()> work) override {
    auto graph = std::make_unique<QueuedGraph>();
    recording_ = graph.get();
    try {
      work();
    } catch (const NotRecordable&) {
      recording_ = nullptr;
      ++counts_.refused_graphs;
      return nullptr;
    }
    recording_ = nullptr;
    ++counts_.recorded_graphs;
    return graph;
  }

  void Launch(const Graph& graph, absl::Span<float* const> hosts) override {
    const auto& recorded = static_cast<const QueuedGraph&>(graph);
    for (const Work& work : recorded.work) work();
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      pending_.push_back({recorded.copies.at(i)->values, hosts[i]});
    }
    ++counts_.launched_graphs;
  }

  void Do(Work work) {
    if (recording_ != nullptr) {
      recording_->work.push_back(std::move(work));
    } else {
      ++counts_.kernels;
      work();
    }
  }
  // For what takes numbers of the host on its way.
  void DoNow(const Work& work) {
    if (recording_ != nullptr) throw NotRecordable();
    Do(work);
  }

  void Download(const float* x, std::int64_t count, float* host) {
    auto copy = std::make_shared<HostCopy>();
    Do([=] { copy->values.assign(x, x + count); });
    if (recording_ != nullptr) {
      recording_->copies.push_back(copy);
    } else {
      pending_.push_back({copy->values, host});
    }
  }
  void Synchronize() {
    if (recording_ != nullptr) throw NotRecordable();
    for (const HostCopy& copy : pending_) {
      std::copy(copy.values.begin(), copy.values.end(), copy.host);
    }
    pending_.clear();
  }

  // Uploads `layout`, without slices of padding, which a GPU's kernels skip.
  void Begin(const BatchLayout& layout) {
    if (recording_ != nullptr) throw NotRecordable();
    Grow(layout.num_tokens());
    host_ = &layout;
    device_ = layout;
    while (!device_.kv_lens.empty() && device_.kv_lens.back() == 0) {
      device_.kv_lens.pop_back();
      device_.query_indptr.pop_back();
      device_.block_indptr.pop_back();
    }
    const auto rows = static_cast<std::size_t>(device_.query_indptr.back());
    device_.positions.resize(rows);
    device_.token_blocks.resize(std::min(rows, layout.token_blocks.size()));
    device_.token_offsets.resize(device_.token_blocks.size());
  }
  void End() { host_ = nullptr; }

  // The place that `layout` was uploaded to, the same for all batches; its own
  // outside of a forward.
  const BatchLayout* Find(const BatchLayout* layout) const {
    return layout == host_ ? &device_ : layout;
  }
  // Likewise for rows of the layout; nullptr: they are not of it.
  const std::vector<std::int32_t>* FindRows(
      absl::Span<const std::int32_t> rows) const {
    if (host_ == nullptr || rows.data() == nullptr) return nullptr;
    if (rows.data() == host_->answered_rows.data()) {
      return &device_.answered_rows;
    }
    if (rows.data() == host_->banks.rows.data()) return &device_.banks.rows;
    if (rows.data() == host_->banks.places.data()) return &device_.banks.places;
    return nullptr;
  }

 private:
  // A GPU's memory has moved then.
  void Grow(std::int64_t rows) {
    if (rows <= rows_) return;
    rows_ = rows;
    ++generation_;
  }

  static thread_local Queue* current;

  QueueCounts& counts_;
  QueuedGraph* recording_ = nullptr;
  std::vector<HostCopy> pending_;
  const BatchLayout* host_ = nullptr;
  BatchLayout device_;
  std::int64_t rows_ = 0;
  std::int64_t generation_ = 0;
};

thread_local Queue* Queue::current = nullptr;

// Every parameter is copied into the work, every array of the host too.
class QueuedKernelSet : public KernelSet {
 public:
  QueuedKernelSet(QueueCounts* counts, bool embeds_at_once)
      : KernelSet(WeightPrecision::kFloat32),
        counts_(counts),
        embeds_at_once_(embeds_at_once),
        cpu_(kernels::CreateCpuKernelSet()) {}

  at::Device device() const override { return at::kCPU; }
  std::string description() const override { return "queued"; }
  std::unique_ptr<DeviceQueue> CreateQueue() const override {
    return std::make_unique<Queue>(counts_);
  }
  std::unique_ptr<kernels::PackedLinear> PackAs(
      absl::Span<const LinearWeights> parts,
      WeightPrecision /*precision*/) const override {
    return cpu_->Pack(parts);
  }

  void BeginForward(const BatchLayout& layout) const override {
    Queue::Current().Begin(layout);
  }
  void EndForward() const override { Queue::Current().End(); }

  void Linear(const kernels::LinearParams& params) const override {
    Do([=] { cpu_->Linear(params); });
  }
  void RmsNorm(const kernels::NormParams& params) const override {
    Do([=] { cpu_->RmsNorm(params); });
  }
  void LayerNorm(const kernels::NormParams& params) const override {
    Do([=] { cpu_->LayerNorm(params); });
  }
  void NormHeads(const kernels::HeadRows& heads, const float* weight,
                 float eps) const override {
    Do([=] { cpu_->NormHeads(heads, weight, eps); });
  }
  void ActivateGated(Activation activation, const float* gate_up,
                     std::int64_t rows, std::int64_t dim,
                     float* y) const override {
    Do([=] { cpu_->ActivateGated(activation, gate_up, rows, dim, y); });
  }
  void Activate(Activation activation, float* x,
                std::int64_t count) const override {
    Do([=] { cpu_->Activate(activation, x, count); });
  }
  void Rope(const kernels::HeadRows& heads,
            const kernels::RopeRows& rope) const override {
    Do([=] { cpu_->Rope(heads, rope); });
  }
  void AppendKv(const kernels::AppendKvParams& params) const override {
    kernels::AppendKvParams there = params;
    there.layout = Queue::Current().Find(params.layout);
    Do([=] { cpu_->AppendKv(there); });
  }
  void PagedAttention(
      const kernels::PagedAttentionParams& params) const override {
    kernels::PagedAttentionParams there = params;
    there.layout = Queue::Current().Find(params.layout);
    const Work work = [=] {
      if (!there.layout->kv_lens.empty()) cpu_->PagedAttention(there);
    };
    if (params.sources.empty()) {
      Do(work);
    } else {
      Queue::Current().DoNow(work);
    }
  }
  void GatherRows(const float* x, std::int64_t dim,
                  absl::Span<const std::int32_t> rows,
                  float* y) const override {
    const std::vector<std::int32_t>* there = Queue::Current().FindRows(rows);
    if (there != nullptr) {
      Do([=] { cpu_->GatherRows(x, dim, *there, y); });
    } else {
      Queue::Current().DoNow([=] { cpu_->GatherRows(x, dim, rows, y); });
    }
  }
  void CopyColumns(const kernels::CopyColumnsParams& params) const override {
    Do([=] { cpu_->CopyColumns(params); });
  }
  void AddScaledRows(const float* x, std::int64_t dim,
                     absl::Span<const std::int32_t> rows,
                     absl::Span<const float> scales, float* y) const override {
    Queue::Current().DoNow(
        [=] { cpu_->AddScaledRows(x, dim, rows, scales, y); });
  }
  void AddGated(const float* x, std::int64_t rows, std::int64_t dim,
                const float* gate, float* y) const override {
    Do([=] { cpu_->AddGated(x, rows, dim, gate, y); });
  }
  void LoopInput(const LoopRows& loop, const float* embedding,
                 std::int64_t columns, float* c) const override {
    Do([=] { cpu_->LoopInput(loop, embedding, columns, c); });
  }
  void LoopUpdate(const LoopRows& loop, const float* decay,
                  const float* injection, const float* y) const override {
    Do([=] { cpu_->LoopUpdate(loop, decay, injection, y); });
  }
  void LoopHalt(const LoopRows& loop, const float* logits, float threshold,
                float* spent, float* out) const override {
    Do([=] { cpu_->LoopHalt(loop, logits, threshold, spent, out); });
  }
  void Zero(float* x, std::int64_t count) const override {
    Do([=] { cpu_->Zero(x, count); });
  }
  void AddTableRows(const float* table, std::int64_t width,
                    absl::Span<const std::int64_t> indices,
                    const kernels::ScatterTarget& target) const override {
    Queue::Current().DoNow(
        [=] { cpu_->AddTableRows(table, width, indices, target); });
  }
  void AddFourier(const FourierTables& tables, const float* x,
                  const kernels::ScatterTarget& target) const override {
    Queue::Current().DoNow([=] { cpu_->AddFourier(tables, x, target); });
  }
  void CopyToHost(const float* x, std::int64_t count,
                  float* host) const override {
    Queue::Current().Download(x, count, host);
  }
  void Synchronize() const override { Queue::Current().Synchronize(); }
  void CopyFromHost(const float* host, std::int64_t count,
                    float* x) const override {
    Queue::Current().DoNow([=] { cpu_->CopyFromHost(host, count, x); });
  }

  bool has_embed_rows() const override { return embeds_at_once_; }
  void EmbedRows(const kernels::EmbedRowsParams& params) const override {
    Queue::Current().DoNow([&] { EmbedNow(params); });
  }

  // Positions are turned on the device: by a table of the set's own.
  bool TurnPositions(const BatchLayout& layout,
                     const kernels::RopeFrequencies& frequencies, float* cos,
                     float* sin) const override {
    const BatchLayout* there = Queue::Current().Find(&layout);
    Do([=] { Turn(*there, frequencies, cos, sin); });
    return true;
  }

 private:
  static void Turn(const BatchLayout& layout,
                   const kernels::RopeFrequencies& frequencies, float* cos,
                   float* sin) {
    for (const std::int32_t position : layout.positions) {
      for (std::int64_t i = 0; i < frequencies.half_dim; ++i) {
        const float angle =
            static_cast<float>(position) * frequencies.inverse[i];
        *cos++ = std::cos(angle) * frequencies.attention_factor;
        *sin++ = std::sin(angle) * frequencies.attention_factor;
      }
    }
  }
  static float ContentAt(const kernels::EmbedContent& content,
                         const kernels::EmbedEntry& entry, const float* inputs,
                         std::int64_t column) {
    if (content.kind == kernels::EmbedContent::Kind::kTable) {
      return content.weight[entry.argument * content.width + column];
    }
    const bool is_fourier =
        content.kind == kernels::EmbedContent::Kind::kFourier;
    float sum = is_fourier ? 0.0F : content.bias[column];
    for (std::int32_t c = 0; c < content.num_inputs; ++c) {
      const std::int64_t at = c * content.width + column;
      const float x = inputs[entry.argument + c];
      sum += content.weight[at] *
             (is_fourier ? std::cos(x * content.freqs[at] + content.phases[at])
                         : x);
    }
    return sum;
  }
  static void EmbedNow(const kernels::EmbedRowsParams& params) {
    for (std::size_t row = 0; row + 1 < params.row_indptr.size(); ++row) {
      for (std::int64_t i = 0; i < params.dim; ++i) {
        float sum = 0.0F;
        for (std::int32_t e = params.row_indptr[row];
             e < params.row_indptr[row + 1]; ++e) {
          const kernels::EmbedEntry& entry =
              params.entries[static_cast<std::size_t>(e)];
          sum += ContentAt(
              params.contents[static_cast<std::size_t>(entry.content)], entry,
              params.inputs.data(), entry.column + i);
        }
        params.x[static_cast<std::int64_t>(row) * params.dim + i] = sum;
      }
    }
  }
  static void Do(Work work) { Queue::Current().Do(std::move(work)); }

  QueueCounts* counts_;
  const bool embeds_at_once_;
  std::unique_ptr<KernelSet> cpu_;
};

}  // namespace

std::unique_ptr<kernels::KernelSet> CreateQueuedKernelSet(QueueCounts* counts,
                                                          bool embeds_at_once) {
  return std::make_unique<QueuedKernelSet>(counts, embeds_at_once);
}

}  // namespace stepd
