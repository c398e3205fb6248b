# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A MOUSE v0.3 policy in plain torch, with one static KV cache for all sessions.

What a careful engineer writes to serve it: every session has a slot of a cache
that is allocated once, one call steps any set of slots, and rows of different
length share one masked attention. Sum embedder, Llama backbone, DQN head; one
token per step.

As a program it prints how many steps per second that is without any server:
    torch_policy.py --model DIR --actors 64 --seconds 1
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

TYPE_ROWS = {"action": 1, "reward": 2, "done": 3, "obs_continuous": 5}


class StaticCachePolicy:
    """Not thread-safe: one call at a time."""

    def __init__(self, directory: Path, num_slots: int, max_steps: int) -> None:
        config = json.loads((directory / "config.json").read_text())
        backbone = config["backbone_kwargs"]
        self.weights = load_file(directory / "model.safetensors")
        self.dim = int(config["hidden_dim"])
        self.num_layers = int(backbone["num_layers"])
        self.num_heads = int(backbone["num_heads"])
        self.num_kv_heads = int(backbone.get("num_key_value_heads", self.num_heads))
        self.head_dim = self.dim // self.num_heads
        self.num_head_layers = int(config["dqn_head_kwargs"]["num_layers"])
        self.num_observations = int(
            config["embedding_kwargs"]["max_num_obs_continuous"]
        )
        self.num_actions = int(config["embedding_kwargs"]["max_num_actions"])
        shape = (
            self.num_layers,
            num_slots,
            self.num_kv_heads,
            max_steps,
            self.head_dim,
        )
        self.keys = torch.zeros(shape)
        self.values = torch.zeros(shape)
        self.lengths = np.zeros(num_slots, np.int64)
        frequencies = 10000.0 ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)
        angles = torch.arange(max_steps)[:, None] * frequencies
        self.cos, self.sin = angles.cos(), angles.sin()
        self._stack_weights()

    def _stack_weights(self) -> None:
        """q, k and v, and gate and up, are one matrix each."""
        w = self.weights
        for layer in range(self.num_layers):
            p = f"backbone.layers.{layer}."
            w[p + "qkv"] = torch.cat(
                [w[f"{p}self_attn.{name}_proj.weight"] for name in "qkv"]
            )
            w[p + "gate_up"] = torch.cat(
                [w[f"{p}mlp.{name}_proj.weight"] for name in ("gate", "up")]
            )

    def clear(self, slot: int) -> None:
        self.lengths[slot] = 0

    @torch.inference_mode()
    def step(
        self, slots: Sequence[int], fields: dict[str, NDArray[np.generic]]
    ) -> NDArray[np.int64]:
        """Appends one step to each slot; the best action of each."""
        rows = torch.as_tensor(slots)
        positions = torch.from_numpy(self.lengths[list(slots)])
        x = self._embed(fields)
        visible = torch.arange(int(positions.max()) + 1) <= positions[:, None]
        for layer in range(self.num_layers):
            x = self._layer(layer, x, rows, positions, visible)
        self.lengths[list(slots)] += 1
        actions: NDArray[np.int64] = self._head(x).argmax(-1).numpy()
        return actions

    def _embed(self, fields: dict[str, NDArray[np.generic]]) -> Tensor:
        w = self.weights
        tensors = {name: torch.from_numpy(value) for name, value in fields.items()}
        x = torch.stack(
            [w["embedder.type_embedder.embed.weight"][i] for i in TYPE_ROWS.values()]
        ).sum(0)
        for name in ("action", "done"):
            x = x + w[f"embedder.{name}_embedder.embed.weight"][tensors[name]]
        for name in ("reward", "obs_continuous"):
            p = f"embedder.{name}_embedder.rff."
            value = tensors[name].reshape(len(tensors[name]), -1, 1)
            angles = value * w[p + "freqs"] + w[p + "phases"]
            x = x + (w[p + "weight"] * angles.cos()).sum(1)
        return x

    def _rope(self, x: Tensor, positions: Tensor) -> Tensor:
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def _layer(
        self, layer: int, x: Tensor, rows: Tensor, positions: Tensor, visible: Tensor
    ) -> Tensor:
        w, p = self.weights, f"backbone.layers.{layer}."
        h = functional.rms_norm(x, (self.dim,), w[p + "input_layernorm.weight"], 1e-5)
        qkv = functional.linear(h, w[p + "qkv"]).view(len(x), -1, self.head_dim)
        q, k, v = qkv.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], 1)
        keys, values = self.keys[layer], self.values[layer]
        keys[rows, :, positions] = self._rope(k, positions)
        values[rows, :, positions] = v
        length = visible.shape[1]
        mixed = functional.scaled_dot_product_attention(
            self._rope(q, positions)[:, :, None],
            keys[rows, :, :length],
            values[rows, :, :length],
            visible[:, None, None],
            enable_gqa=True,
        )
        x = x + functional.linear(
            mixed.reshape(len(x), -1), w[p + "self_attn.o_proj.weight"]
        )
        weight = w[p + "post_attention_layernorm.weight"]
        h = functional.rms_norm(x, (self.dim,), weight, 1e-5)
        gate, up = functional.linear(h, w[p + "gate_up"]).chunk(2, -1)
        down = w[p + "mlp.down_proj.weight"]
        return x + functional.linear(functional.silu(gate) * up, down)

    def _head(self, x: Tensor) -> Tensor:
        w, p = self.weights, "dqn_head.online."
        x = functional.rms_norm(x, (self.dim,), w[p + "norm.weight"], 1e-5)
        last = self.num_head_layers - 1
        for i in range(last):
            name = f"{p}layers.{i}.linear."
            u = functional.linear(x, w[name + "weight"], w[name + "bias"])
            gate, value = u.chunk(2, -1)
            x = functional.silu(gate) * value
        name = f"{p}layers.{last}."
        return functional.linear(x, w[name + "weight"], w[name + "bias"])


def measure(
    directory: Path, num_actors: int, seconds: float, episode: int = 128
) -> float:
    """Steps per second of all actors in a loop; their episodes are staggered."""
    policy = StaticCachePolicy(directory, num_actors, episode)
    slots = list(range(num_actors))
    policy.lengths[:] = [i * episode // num_actors for i in slots]
    random = np.random.default_rng(1)
    observations = random.standard_normal((num_actors, policy.num_observations))
    fields: dict[str, NDArray[np.generic]] = {
        "action": random.integers(policy.num_actions, size=num_actors),
        "obs_continuous": observations.astype(np.float32),
        "reward": np.zeros(num_actors, np.float32),
        "done": np.zeros(num_actors, np.int64),
    }

    def step_all() -> None:
        policy.lengths[policy.lengths >= episode] = 0
        policy.step(slots, fields)

    for _ in range(3):
        step_all()
    begin = time.perf_counter()
    num_steps = 0
    while time.perf_counter() < begin + seconds:
        step_all()
        num_steps += num_actors
    return num_steps / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--actors", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print(measure(options.model, options.actors, options.seconds))


if __name__ == "__main__":
    main()
