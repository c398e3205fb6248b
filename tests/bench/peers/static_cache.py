# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Decode steps in plain PyTorch: a static KV cache and CUDA graphs.

What a careful engineer writes without a serving system, in the shape of
gpu-bench's 0.6B policy: every session has its slot of one cache, all step at
once, and the step is captured once and replayed. Prints one line per number of
sessions, as gpu-bench does:

    static_cache.py [--sessions 1,64] [--device cpu --small]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Of a decoder of Llama's kind with norms of queries and keys."""

    layers: int = 28
    dim: int = 1024
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    ffn_dim: int = 3072
    tokens: int = 4  # of a step
    actions: int = 5


SMALL = Shape(layers=2, dim=64, heads=4, kv_heads=2, head_dim=16, ffn_dim=96)


class StaticCacheDecoder:
    """All sessions step together; contexts stay as long as they are."""

    def __init__(self, shape: Shape, sessions: int, cached: int, device: str) -> None:
        self.shape = shape
        on = {"device": device, "dtype": torch.bfloat16}
        width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        self.layers = [
            {
                "qkv": torch.randn(width, shape.dim, **on) * 0.02,
                "o": torch.randn(shape.dim, shape.heads * shape.head_dim, **on) * 0.02,
                "gate_up": torch.randn(2 * shape.ffn_dim, shape.dim, **on) * 0.02,
                "down": torch.randn(shape.dim, shape.ffn_dim, **on) * 0.02,
                "norm": torch.ones(shape.dim, **on),
                "head_norm": torch.ones(shape.head_dim, **on),
            }
            for _ in range(shape.layers)
        ]
        self.head = torch.randn(shape.actions, shape.dim, **on)
        length = cached + shape.tokens
        slot = (shape.layers, sessions, shape.kv_heads, length, shape.head_dim)
        self.keys = torch.zeros(slot, **on)
        self.values = torch.zeros(slot, **on)
        self.x = torch.randn(sessions, shape.tokens, shape.dim, **on)
        places = torch.arange(cached, length, device=device)
        self.places = places
        # A new token sees all that is cached and the new ones up to itself.
        everything = torch.arange(length, device=device)
        self.mask = everything[None, :] <= places[:, None]
        half = torch.arange(shape.head_dim // 2, device=device)
        angles = places[:, None] * 10000.0 ** (-2.0 * half / shape.head_dim)
        self.cos = torch.cos(angles).to(torch.bfloat16)
        self.sin = torch.sin(angles).to(torch.bfloat16)

    def _turn(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat(
            (
                first * self.cos - second * self.sin,
                second * self.cos + first * self.sin,
            ),
            dim=-1,
        )

    def step(self) -> Tensor:
        """Scores of every session's last token."""
        shape = self.shape
        sessions = self.x.shape[0]
        x = self.x
        for index, layer in enumerate(self.layers):
            normed = functional.rms_norm(x, (shape.dim,), layer["norm"])
            qkv = functional.linear(normed, layer["qkv"])
            qkv = qkv.view(sessions, shape.tokens, -1, shape.head_dim).transpose(1, 2)
            q, k, v = qkv.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
            q = functional.rms_norm(q, (shape.head_dim,), layer["head_norm"])
            k = functional.rms_norm(k, (shape.head_dim,), layer["head_norm"])
            self.keys[index].index_copy_(2, self.places, self._turn(k))
            self.values[index].index_copy_(2, self.places, v)
            mixed = functional.scaled_dot_product_attention(
                self._turn(q),
                self.keys[index],
                self.values[index],
                attn_mask=self.mask,
                enable_gqa=True,
            )
            mixed = mixed.transpose(1, 2).reshape(sessions, shape.tokens, -1)
            x = x + functional.linear(mixed, layer["o"])
            normed = functional.rms_norm(x, (shape.dim,), layer["norm"])
            gate, up = functional.linear(normed, layer["gate_up"]).chunk(2, dim=-1)
            x = x + functional.linear(functional.silu(gate) * up, layer["down"])
        return functional.linear(x[:, -1], self.head)


def _captured(decoder: StaticCacheDecoder) -> Callable[[], None]:
    for _ in range(3):
        decoder.step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        scores = decoder.step()
    host = torch.empty(scores.shape, dtype=scores.dtype, pin_memory=True)

    def run() -> None:
        graph.replay()
        host.copy_(scores, non_blocking=True)
        torch.cuda.current_stream().synchronize()

    return run


def _milliseconds(run: Callable[[], object], runs: int) -> float:
    run()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(runs):
            run()
        times.append((time.perf_counter() - begin) / runs)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Prints a line per number of sessions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", default="1,64,256,1024")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="to try it out")
    options = parser.parse_args()
    with torch.no_grad():
        for sessions in map(int, options.sessions.split(",")):
            cached = (384 if sessions <= 256 else 96) * 4
            shape = SMALL if options.small else Shape()
            decoder = StaticCacheDecoder(shape, sessions, cached, options.device)
            on_gpu = options.device != "cpu"
            run = _captured(decoder) if on_gpu else decoder.step
            milliseconds = _milliseconds(run, 20 if on_gpu else 1)
            print(
                f"plain PyTorch, {sessions} sessions of {cached} tokens: "
                f"{milliseconds:.3f} ms a step",
                flush=True,
            )


if __name__ == "__main__":
    main()
