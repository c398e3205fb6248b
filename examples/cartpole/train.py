# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the policy in checkpoint/: CartPole without velocities, by imitation.

A linear controller that sees the full state is the teacher. A small causal
transformer sees only [position, angle] and its own previous action, plays whole
episodes, and learns what the teacher would have done at every step it visited
(DAgger: Ross, Gordon and Bagnell, 2011, arXiv:1011.0686). To agree with the
teacher it has to recover the velocities from its memory.

    python train.py              train, save, reload and evaluate
    python train.py --evaluate   evaluate the saved checkpoint

The modules below are named so that `state_dict()` is the checkpoint: MOUSE
dialect A with a llama backbone (docs/checkpoints.md).

Everything is seeded and runs on one thread: the same machine and the same torch
give the same file.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import env as cartpole

CHECKPOINT = Path(__file__).parent / "checkpoint"

# config.json, word for word. One token per step: the embeddings of `action` and
# `obs_continuous` are added up, no compute tokens.
CONFIG: dict[str, Any] = {
    "action_head": "sp",
    "backbone_kwargs": {
        "expand": 2,
        "max_position_embeddings": 512,
        "num_heads": 4,
        "num_layers": 2,
        "rms_norm_eps": 1e-5,
    },
    "dqn_head_kwargs": {"num_layers": 0},
    "embedding_kwargs": {
        "concat_modalities": False,
        "fourier_in_max": 1.0,
        "fourier_in_min": 0.02,
        "include_action_token": True,
        "include_done_token": False,
        "include_obs_continuous": True,
        "include_obs_discrete": False,
        "include_obs_image": False,
        "include_reward_token": False,
        "include_time_token": False,
        "include_type_token": True,
        "max_num_actions": 2,
        "max_num_obs_continuous": 2,
        "max_num_obs_discrete": 0,
        "max_num_obs_image": 0,
        "max_num_time_steps": 0,
        "num_compute_tokens": 0,
        "std": 0.5,
        "token_data_len": 1,
    },
    "hidden_dim": 64,
    "sp_head_kwargs": {"hidden_dim": 32, "num_layers": 2},
    "sv_head_kwargs": {"num_layers": 0},
    "vec_dqn_head_kwargs": {"num_layers": 0},
}

# Training: 1 + ROUNDS times, play EPISODES episodes (the first time the teacher
# plays, then the student), add them to what is known, and learn from all of it.
SEED = 1
ROUNDS = 10
EPISODES = 32
UPDATES = 80  # per round
BATCH = 8  # whole episodes
LEARNING_RATE = 2e-3

# Seeds of the environment. What is played for a figure was never trained on.
TRAIN_SEEDS = 1_000_000
TEST_SEEDS = 2_000_000
TEST_EPISODES = 256


# ------------------------------------------------------------------ the policy


class Table(nn.Module):
    """A row [D] for each value of an integer."""

    def __init__(self, rows: int, dim: int, std: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, dim)
        nn.init.normal_(self.embed.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


class FourierFeatures(nn.Module):
    """x [..., C] -> [..., D]: the sum of weight * cos(x_c * freqs + phases)."""

    def __init__(self, size: int, dim: int, kwargs: dict[str, Any]) -> None:
        super().__init__()
        low, high = kwargs["fourier_in_min"], kwargs["fourier_in_max"]
        log_wave = torch.empty(size, dim)
        log_wave.uniform_(math.log(low), math.log(high))
        self.rff = nn.ParameterDict(
            {
                "weight": torch.randn(size, dim) * kwargs["std"],
                "freqs": torch.exp(-log_wave),
                "phases": torch.rand(size, dim) * 2 * math.pi,
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.cos(x[..., None] * self.rff["freqs"] + self.rff["phases"])
        return (self.rff["weight"] * waves).sum(dim=-2)


class Embedder(nn.Module):
    """The fields of a step -> its token [D]."""

    # Rows of the type table.
    ACTION, OBS_CONTINUOUS, TYPES = 1, 5, 8

    def __init__(self, dim: int, kwargs: dict[str, Any]) -> None:
        super().__init__()
        std = kwargs["std"]
        self.type_embedder = Table(self.TYPES, dim, std)
        self.action_embedder = Table(kwargs["max_num_actions"], dim, std)
        self.obs_continuous_embedder = FourierFeatures(
            kwargs["max_num_obs_continuous"], dim, kwargs
        )

    def forward(self, action: Tensor, obs: Tensor) -> Tensor:
        types = self.type_embedder.embed.weight
        return (
            self.action_embedder(action)
            + types[self.ACTION]
            + self.obs_continuous_embedder(obs)
            + types[self.OBS_CONTINUOUS]
        )


@dataclass
class Cache:
    """Keys and values of the steps so far: per layer, two of [B, H, t, hd]."""

    layers: list[tuple[Tensor, Tensor] | None]

    def __len__(self) -> int:
        first = self.layers[0]
        return 0 if first is None else first[0].shape[2]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the new keys and values of a layer; returns all it has now."""
        past = self.layers[layer]
        if past is not None:
            k = torch.cat([past[0], k], dim=2)
            v = torch.cat([past[1], v], dim=2)
        self.layers[layer] = (k, v)
        return k, v


def rope(x: Tensor, start: int) -> Tensor:
    """Rotates x [B, H, S, hd], whose first row stands at position `start`."""
    half = x.shape[-1] // 2
    freqs = 10000.0 ** (-torch.arange(half) / half)
    angles = torch.arange(start, start + x.shape[2])[:, None] * freqs
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    """Causal attention with rotary positions; hd = D / num_heads."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, layer: int, cache: Cache, start: int) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        q = rope(heads(self.q_proj(x)), start)
        k = rope(heads(self.k_proj(x)), start)
        k, v = cache.append(layer, k, heads(self.v_proj(x)))
        # One new step sees everything; several are only ever a whole sequence.
        out = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """The gated feed-forward of a layer."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(dim, inner, bias=False)
        self.up_proj = nn.Linear(dim, inner, bias=False)
        self.down_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, dim: int, kwargs: dict[str, Any]) -> None:
        super().__init__()
        eps = kwargs["rms_norm_eps"]
        self.input_layernorm = nn.RMSNorm(dim, eps)
        self.self_attn = Attention(dim, kwargs["num_heads"])
        self.post_attention_layernorm = nn.RMSNorm(dim, eps)
        self.mlp = Mlp(dim, dim * kwargs["expand"])

    def forward(self, x: Tensor, layer: int, cache: Cache, start: int) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), layer, cache, start)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """A llama decoder without a final norm."""

    def __init__(self, dim: int, kwargs: dict[str, Any]) -> None:
        super().__init__()
        # Part of every checkpoint, never used.
        self.embed_tokens = nn.Embedding(1, dim)
        self.layers = nn.ModuleList(
            Layer(dim, kwargs) for _ in range(kwargs["num_layers"])
        )

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        start = len(cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, index, cache, start)
        return x


class GatedLinear(nn.Module):
    """A linear layer of twice the width; one half gates the other."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.linear(x).chunk(2, dim=-1)
        return F.silu(gate) * value


class Head(nn.Module):
    """Norm, gated layers, one plain linear layer."""

    def __init__(self, dim: int, out: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        sizes = [dim] + [hidden_dim] * (num_layers - 1)
        self.norm = nn.RMSNorm(dim, 1e-5)
        self.layers = nn.Sequential(
            *(GatedLinear(size, hidden_dim) for size in sizes[:-1]),
            nn.Linear(sizes[-1], out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.norm(x))


class Policy(nn.Module):
    """Steps -> scores of the actions: whole episodes, or one step at a time."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        dim = config["hidden_dim"]
        actions = config["embedding_kwargs"]["max_num_actions"]
        self.embedder = Embedder(dim, config["embedding_kwargs"])
        self.backbone = Backbone(dim, config["backbone_kwargs"])
        self.sp_head = Head(dim, actions, **config["sp_head_kwargs"])

    def new_cache(self) -> Cache:
        return Cache([None] * len(self.backbone.layers))

    def forward(self, action: Tensor, obs: Tensor, cache: Cache) -> Tensor:
        """action [B, S], obs [B, S, 2] -> scores [B, S, 2].

        With S > 1 the cache has to be empty.
        """
        return self.sp_head(self.backbone(self.embedder(action, obs), cache))


def save(policy: Policy, directory: Path) -> None:
    """Writes config.json and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(CONFIG, indent=2, sort_keys=True) + "\n"
    (directory / "config.json").write_text(text)
    save_file(policy.state_dict(), directory / "model.safetensors")


def load(directory: Path) -> Policy:
    """Reads what `save` wrote; a missing or extra tensor is an error."""
    policy = Policy(json.loads((directory / "config.json").read_text()))
    policy.load_state_dict(load_file(directory / "model.safetensors"))
    return policy


# ----------------------------------------------------------------- the teacher


def teacher_gain() -> NDArray[np.float64]:
    """Gains k of `force = -k @ state`: LQR on the linearised CartPole.

    The constants are CartPole-v1's: masses 1 and 0.1 kg, half length 0.5 m, one
    Euler step of 0.02 s.
    """
    tau, gravity, pole, total, half = 0.02, 9.8, 0.1, 1.1, 0.5
    inertia = half * (4 / 3 - pole / total)
    coupling = pole * half / total
    a = np.eye(4) + tau * np.array(
        [
            [0, 1, 0, 0],
            [0, 0, -coupling * gravity / inertia, 0],
            [0, 0, 0, 1],
            [0, 0, gravity / inertia, 0],
        ]
    )
    push = (1 + coupling / inertia) / total
    b = tau * np.array([0, push, 0, -1 / (total * inertia)])
    cost = np.diag([1.0, 0.1, 1.0, 0.1])
    p = cost
    for _ in range(2000):  # the Riccati recursion, run until it stands still
        gain = b @ p @ a / (0.1 + b @ p @ b)
        p = cost + a.T @ p @ (a - np.outer(b, gain))
    return gain


GAIN = teacher_gain()


def teach(world: cartpole.HiddenVelocityCartPole) -> int:
    """What the teacher does now: full force the way it wants to push."""
    inner = world.unwrapped
    assert isinstance(inner, CartPoleEnv) and inner.state is not None
    return int(-GAIN @ inner.state > 0)


# ------------------------------------------------------------ playing episodes


@dataclass
class Episodes:
    """N played episodes, padded to MAX_STEPS."""

    action: Tensor  # [N, MAX_STEPS] the action before each step
    obs: Tensor  # [N, MAX_STEPS, 2]
    label: Tensor  # [N, MAX_STEPS] what the teacher would do; padding -1
    length: Tensor  # [N], which is also the return

    @staticmethod
    def empty(count: int) -> "Episodes":
        shape = (count, cartpole.MAX_STEPS)
        return Episodes(
            action=torch.full(shape, cartpole.FIRST_ACTION),
            obs=torch.zeros(*shape, 2),
            label=torch.full(shape, -1),
            length=torch.zeros(count, dtype=torch.int64),
        )

    def extend(self, other: "Episodes") -> "Episodes":
        return Episodes(
            torch.cat([self.action, other.action]),
            torch.cat([self.obs, other.obs]),
            torch.cat([self.label, other.label]),
            torch.cat([self.length, other.length]),
        )


@torch.no_grad()
def play(policy: Policy | None, count: int, seed: int, memory: bool = True) -> Episodes:
    """Plays `count` episodes to the end, side by side, greedily.

    Without a policy the teacher plays. Without memory every step meets an empty
    cache, as if each were sent to a fresh session.
    """
    worlds = [cartpole.make() for _ in range(count)]
    played = Episodes.empty(count)
    for i, world in enumerate(worlds):
        played.obs[i, 0] = torch.from_numpy(world.reset(seed=seed + i)[0])
    cache = None
    live = list(range(count))
    for t in range(cartpole.MAX_STEPS):
        for i in live:
            played.label[i, t] = teach(worlds[i])
        if policy is None:
            chosen = played.label[:, t]
        else:
            if cache is None or not memory:
                cache = policy.new_cache()
            now = slice(t, t + 1)
            scores = policy(played.action[:, now], played.obs[:, now], cache)
            chosen = scores[:, 0].argmax(-1)
        live = [i for i in live if advance(worlds[i], played, i, chosen[i])]
        if not live:
            break
    return played


def advance(
    world: cartpole.HiddenVelocityCartPole,
    played: Episodes,
    i: int,
    action: Tensor,
) -> bool:
    """Takes a step in episode i and records it; whether the episode goes on."""
    obs, _, terminated, truncated, _ = world.step(int(action))
    played.length[i] += 1
    if terminated or truncated:
        return False
    t = played.length[i]
    played.action[i, t] = action
    played.obs[i, t] = torch.from_numpy(obs)
    return True


# -------------------------------------------------------------------- training


def learn(policy: Policy, optimizer: torch.optim.Optimizer, known: Episodes) -> float:
    """Takes UPDATES gradient steps on random episodes; the mean loss."""
    total = 0.0
    for _ in range(UPDATES):
        rows = torch.randint(len(known.length), (BATCH,))
        steps = int(known.length[rows].max())
        scores = policy(
            known.action[rows, :steps],
            known.obs[rows, :steps],
            policy.new_cache(),
        )
        label = known.label[rows, :steps]
        loss = F.cross_entropy(scores.flatten(0, 1), label.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
    return total / UPDATES


def train() -> Policy:
    """DAgger with a learning rate that falls to zero."""
    policy = Policy(CONFIG)
    optimizer = torch.optim.AdamW(policy.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ROUNDS + 1)
    known = Episodes.empty(0)
    began = time.monotonic()
    for round_ in range(ROUNDS + 1):
        seed = TRAIN_SEEDS + round_ * EPISODES
        played = play(policy if round_ else None, EPISODES, seed)
        known = known.extend(played)
        loss = learn(policy, optimizer, known)
        schedule.step()
        print(
            f"round {round_:2d}  {'student' if round_ else 'teacher'} "
            f"return {played.length.double().mean():5.1f}  loss {loss:.4f}  "
            f"{time.monotonic() - began:4.0f} s",
            flush=True,
        )
    return policy


def evaluate(policy: Policy) -> None:
    """Prints the two figures the demo shows, on episodes never trained on."""
    for title, memory in (("with memory", True), ("every step afresh", False)):
        returns = play(policy, TEST_EPISODES, TEST_SEEDS, memory).length
        print(
            f"{title}: mean return {returns.double().mean():.1f} "
            f"(worst {returns.min()}, best {returns.max()}, "
            f"{TEST_EPISODES} episodes)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="do not train")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    if not args.evaluate:
        save(train(), args.checkpoint)
    evaluate(load(args.checkpoint))


if __name__ == "__main__":
    main()
