# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A noether policy with a perceiver and a condition, through a daemon.

Its weights are random: what is tested is that answers follow the session's
inputs, and nothing else of the session.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import stepd
from daemon import Daemon

D, SOURCE, LENGTH, CONDITION, MLP = 8, 5, 6, 3, 16
TYPES = ["obs", "action"]
CONFIG = {
    "family": "noether_untied",
    "num_types": len(TYPES),
    "types": TYPES,
    "depth": 1,
    "config": {
        "hidden_dim": D,
        "num_heads": 2,
        "mlp_hidden_dim": MLP,
        "condition_dim": CONDITION,
        "use_rope": True,
    },
    "rope": {"input_dim": 1, "implementation": "real"},
    "perceiver": {"depth": 1, "kv_dim": SOURCE, "source_length": LENGTH},
}

Array = NDArray[np.float32]
random = np.random.default_rng(1)


def normal(*shape: int) -> Array:
    return random.normal(size=shape).astype(np.float32)


def block(attention: str, modulation: int, shared: dict[str, int]) -> dict[str, Array]:
    """A block's weights; `shared` linears of the attention have no banks."""
    weights = {
        "modulation.project.weight": normal(modulation, CONDITION),
        "modulation.project.bias": normal(modulation),
    }
    for name in ("q", "k", "v", "proj"):
        if name in shared:
            weights[f"{attention}.{name}.weight"] = normal(D, shared[name])
            weights[f"{attention}.{name}.bias"] = normal(D)
            continue
        for bank in range(len(TYPES)):
            weights[f"{attention}.{name}.weight.{bank}"] = normal(D, D)
            weights[f"{attention}.{name}.bias.{bank}"] = normal(D)
    for layer, (out, in_) in enumerate([(MLP, D), (D, MLP)]):
        for bank in range(len(TYPES)):
            weights[f"mlp.layers.{layer}.weight.{bank}"] = normal(out, in_)
            weights[f"mlp.layers.{layer}.bias.{bank}"] = normal(out)
    return weights


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, start_daemon: Callable[..., Daemon]
) -> Iterator[stepd.Client]:
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    perceiver = block("attn", 6 * D + 2 * SOURCE, {"k": SOURCE, "v": SOURCE})
    causal = block("attention_block", 6 * D, {})
    weights = {f"perceivers.0.{name}": tensor for name, tensor in perceiver.items()}
    weights |= {f"blocks.0.{name}": tensor for name, tensor in causal.items()}
    save_file(weights, folder / "model.safetensors")
    daemon = start_daemon(folder, "--model.device", "cpu")
    with stepd.connect(daemon.target, timeout=60) as connected:
        yield connected


SESSION = {"source": normal(LENGTH, SOURCE), "condition": normal(CONDITION)}
STEPS = {
    "tokens": [normal(2, D), normal(1, D), normal(3, D)],
    "token_types": [["obs", "action"], ["action"], ["obs", "obs", "action"]],
}


def play(client: stepd.Client, actor: str, session_inputs: dict[str, Any]) -> Array:
    """The last token of every step, each step in a call of its own."""
    session = client.session(actor)
    hidden = []
    for i in range(3):
        step = {name: values[i] for name, values in STEPS.items()}
        given = session_inputs if i == 0 else None
        answer = session.step(step, outputs=("hidden",), session_inputs=given)
        assert answer.action is None
        hidden.append(answer.outputs["hidden"])
    return np.stack(hidden)


def test_describes_the_inputs_of_a_session(client: stepd.Client) -> None:
    described = {f.name: f.shape for f in client.describe().session_inputs}

    assert described == {"source": (LENGTH, SOURCE), "condition": (CONDITION,)}


def test_answers_follow_the_inputs_of_the_session(client: stepd.Client) -> None:
    answers = play(client, "a", SESSION)
    again = play(client, "b", SESSION)
    elsewhere = play(client, "c", SESSION | {"source": normal(LENGTH, SOURCE)})
    otherwise = play(client, "d", SESSION | {"condition": normal(CONDITION)})

    assert np.array_equal(answers, again)
    assert np.abs(answers - elsewhere).max() > 1e-3
    assert np.abs(answers - otherwise).max() > 1e-3


def test_one_call_of_all_steps_has_the_same_bits(client: stepd.Client) -> None:
    at_once = client.session("at once").steps(
        STEPS, answer="all", outputs=("hidden",), session_inputs=SESSION
    )

    assert np.array_equal(at_once.outputs["hidden"], play(client, "apart", SESSION))


def test_a_session_does_not_open_without_its_inputs(client: stepd.Client) -> None:
    with pytest.raises(stepd.FieldError) as caught:
        play(client, "e", {"source": SESSION["source"]})

    assert (caught.value.reason, caught.value.field) == ("FIELD_MISSING", "condition")
