# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Calls that end their session: exact answers, and nothing stays behind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import stepd
from daemon import Daemon

# Its tokens halt before the last loop.
CASE = "open_mythos/gqa_act_early_exit"


@pytest.fixture(scope="module")
def client(golden: Path, start_daemon: Callable[..., Daemon]) -> Iterator[stepd.Client]:
    daemon = start_daemon(golden / CASE / "checkpoint", "--model.device", "cpu")
    with stepd.connect(daemon.target, timeout=60) as connected:
        yield connected


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, Any]:
    """Tokens and logits of every recorded actor."""
    tokens = load_file(golden / CASE / "inputs.safetensors")
    expected = load_file(golden / CASE / "expected.safetensors")
    return {
        name.removesuffix("/tokens"): (
            values,
            expected[name.removesuffix("tokens") + "logits"],
        )
        for name, values in tokens.items()
    }


def test_an_episode_in_one_call_is_as_recorded(
    client: stepd.Client, recorded: dict[str, Any]
) -> None:
    assert recorded
    for actor, (tokens, logits) in recorded.items():
        session = client.session(actor)

        answer = session.steps(
            {"tokens": tokens}, answer="all", outputs=("logits",), ephemeral=True
        )

        got = answer.outputs["logits"]
        error = np.abs(got - logits) / np.maximum(1, np.abs(logits))
        assert error.max() <= 1e-4
        assert answer.step_index == len(tokens)


def test_the_bits_are_those_of_a_session_that_goes_on(
    client: stepd.Client, recorded: dict[str, Any]
) -> None:
    for actor, (tokens, _) in recorded.items():
        ends = client.session(f"{actor} ends")
        goes_on = client.session(f"{actor} goes on")
        for session in (ends, goes_on):
            session.step({"tokens": tokens[0]})

        last = ends.step({"tokens": tokens[1]}, outputs=("hidden",), ephemeral=True)
        next_one = goes_on.step({"tokens": tokens[1]}, outputs=("hidden",))

        np.testing.assert_array_equal(
            last.outputs["hidden"], next_one.outputs["hidden"]
        )
        # The one is over, the other one goes on.
        assert ends.step({"tokens": tokens[2]}).step_index == 1
        assert goes_on.step({"tokens": tokens[2]}).step_index == 3


def test_batches_and_streams_end_sessions_too(client: stepd.Client) -> None:
    names = ["x", "y"]

    for _ in range(2):
        batch = client.step_batch(names, {"tokens": [3, 4]}, ephemeral=True)
        assert list(batch.step_indices) == [1, 1]
    with client.stream() as stream:
        futures = [
            stream.step("x", {"tokens": 3}, ephemeral=True),
            stream.step("x", {"tokens": 3}, ephemeral=True),
            stream.step_batch(names, {"tokens": [3, 4]}, ephemeral=True),
        ]
        first, second, both = [future.result() for future in futures]
    assert (first.step_index, second.step_index) == (1, 1)
    assert list(both.step_indices) == [1, 1]
