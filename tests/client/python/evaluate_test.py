# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluate against a real daemon: the numbers of the episode that was stepped."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from daemon import Daemon

NUM_STEPS = 24
OUTPUTS = ("entropy", "probs", "hidden", "sp")


@pytest.fixture(scope="module")
def daemon(golden: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    """One that computes an episode in several batches."""
    return start_daemon(
        golden / "mouse_v03/llama_sum_mha/checkpoint",
        *("--batching.max_batch_tokens", "7"),
        *("--limits.max_steps_per_call", "8"),
        *("--sessions.max_steps", str(NUM_STEPS)),
        *("--sessions.max_sessions", "2"),
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def episode() -> dict[str, Any]:
    t = np.arange(NUM_STEPS)
    return {
        "time": t % 8,
        "action": t % 4,
        "obs_continuous": np.stack([np.sin(t), np.cos(t), t / 100], axis=1),
        "reward": t / 50,
        "done": np.zeros(NUM_STEPS, np.int64),
    }


def test_it_agrees_to_the_bit_with_an_episode_that_was_stepped(
    client: stepd.Client,
) -> None:
    rows = episode()
    temperatures = np.linspace(0.5, 2.0, NUM_STEPS)
    masks = [None if i % 3 else [True, False, True, True] for i in range(NUM_STEPS)]
    with client.session("stepped") as session, client.session("another") as other:
        stepped = []
        for i in range(NUM_STEPS):
            step = {name: values[i] for name, values in rows.items()}
            stepped.append(
                session.step(
                    step,
                    outputs=OUTPUTS,
                    temperature=float(temperatures[i]),
                    epsilon=0.1,
                    seed=9,
                    action_mask=masks[i],
                )
            )
        # As many sessions as there may be, of which one has taken no part.
        other.step({name: values[0] for name, values in rows.items()})

        got = client.evaluate(
            rows,
            [result.action for result in stepped],
            outputs=OUTPUTS,
            temperature=temperatures,
            epsilon=0.1,
            action_mask=masks,
        )

        last = other.step({name: values[1] for name, values in rows.items()})
        assert last.step_index == 2

    assert got.log_probs.tolist() == [result.log_prob for result in stepped]
    for name in OUTPUTS:
        want = np.stack([result.outputs[name] for result in stepped])
        np.testing.assert_array_equal(got.outputs[name], want)


def test_without_actions_it_answers_outputs(client: stepd.Client) -> None:
    got = client.evaluate(episode())

    assert got.log_probs.size == 0
    assert got.outputs["entropy"].tolist() == [0.0] * NUM_STEPS  # the best action


def test_what_is_never_drawn_has_no_probability(client: stepd.Client) -> None:
    mask = [[True, False, True, True]] * NUM_STEPS

    got = client.evaluate(episode(), [1] * NUM_STEPS, temperature=1.0, action_mask=mask)

    assert got.log_probs.tolist() == [-np.inf] * NUM_STEPS


@pytest.mark.parametrize(
    ("actions", "reason"),
    [([0] * (NUM_STEPS - 1), "FIELD_SHAPE"), ([4] * NUM_STEPS, "FIELD_RANGE")],
)
def test_actions_are_of_every_step_and_of_the_policy(
    client: stepd.Client, actions: list[int], reason: str
) -> None:
    with pytest.raises(stepd.FieldError) as caught:
        client.evaluate(episode(), actions)

    assert (caught.value.reason, caught.value.field) == (reason, "actions")


def test_an_episode_is_as_long_as_a_session_may_be(client: stepd.Client) -> None:
    rows = {name: np.concatenate([v, v[:1]]) for name, v in episode().items()}

    with pytest.raises(stepd.InvalidRequest) as caught:
        client.evaluate(rows)

    assert caught.value.reason == "LIMIT"
