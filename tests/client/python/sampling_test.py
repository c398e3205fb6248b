# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""How actions are drawn: what the client sends, and what a daemon makes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from daemon import Daemon
from fake_service import FakeService

FAKE_STEP: dict[str, Any] = {"action": 0, "obs": [0.0, 0.5, 1.0]}
STEP: dict[str, Any] = {
    "time": 0,
    "action": 1,
    "obs_continuous": [0.5, -0.5, 0.25],
    "reward": 0.5,
    "done": 0,
}
OUTPUTS = ("scores", "probs", "entropy")


# ------------------------------------------------------------------ what is sent


def test_keywords_stand_for_the_fields_of_a_sampling(
    service: FakeService, client: stepd.Client
) -> None:
    session = client.session("a")
    sampling = stepd.Sampling(temperature=0.5, top_k=2, epsilon=0.25, seed=3)

    session.step(FAKE_STEP, sampling=sampling)
    session.step(FAKE_STEP, temperature=0.5, top_k=2, epsilon=0.25, seed=3)
    session.step(FAKE_STEP, sampling=sampling, seed=4, num_actions=2)

    first, same, other = (request.sampling for request in service.requests)
    assert first == same
    assert (first.temperature, first.top_k, first.epsilon) == (0.5, 2, 0.25)
    assert (other.temperature, other.seed, other.num_actions) == (0.5, 4, 2)


def test_what_is_no_field_is_refused(client: stepd.Client) -> None:
    with pytest.raises(TypeError):
        client.session("a").step(FAKE_STEP, temperatur=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        client.step_batch(["a"], FAKE_STEP, temperatur=[1.0])  # type: ignore[call-arg]


def test_a_batch_has_fields_for_all_and_for_each(
    service: FakeService, client: stepd.Client
) -> None:
    rows = {"action": [0, 0], "obs": np.zeros((2, 3))}

    client.step_batch(
        ["a", "b"],
        rows,
        temperature=0.5,
        epsilon=np.array([0.0, 0.25]),
        top_k=[None, 2],
        action_mask=[None, [True, False, True, True]],
    )

    request = service.requests[-1]
    assert request.sampling.temperature == 0.5
    columns = request.sampling_columns
    assert list(columns.epsilons) == [0.0, 0.25]
    assert list(columns.top_k) == [0, 2]
    assert not columns.temperatures
    assert list(request.action_mask.lengths) == [0, 1]
    assert list(request.action_mask.shape) == [1, 4]
    assert request.action_mask.data == b"\x01\x00\x01\x01"


def test_a_mask_is_of_bools_or_integers(client: stepd.Client) -> None:
    with pytest.raises(stepd.FieldError, match="action_mask"):
        client.session("a").step(FAKE_STEP, action_mask=[1.0, 0.0, 1.0, 1.0])


# ------------------------------------------------------- what a daemon makes of it


@pytest.fixture(scope="module")
def daemon(golden: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(golden / "mouse_v03/llama_sum_mha/checkpoint")


@pytest.fixture
def real(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def test_every_step_is_drawn_from_the_probs_it_answers(
    real: stepd.Client, request: pytest.FixtureRequest
) -> None:
    """By Pearson's chi-square over many steps of differing scores."""
    session = real.session(request.node.name)
    mask = [True, False, True, True]
    expected = np.zeros(4)
    variance = np.zeros(4)
    counts = np.zeros(4)
    for i in range(600):
        step = {**STEP, "obs_continuous": [np.sin(i), np.cos(i), 0.0], "time": i % 8}
        got = session.step(
            step,
            outputs=OUTPUTS,
            temperature=0.7,
            epsilon=0.2,
            seed=1,
            action_mask=mask,
        )
        probs = got.outputs["probs"].astype(np.float64)
        assert got.action is not None and got.log_prob is not None
        assert probs[1] == 0.0 and abs(probs.sum() - 1.0) < 1e-6
        assert abs(got.log_prob - np.log(probs[got.action])) < 1e-6
        drawn = probs[probs > 0]
        entropy = -(drawn * np.log(drawn)).sum()
        assert abs(got.outputs["entropy"] - entropy) < 1e-6
        counts[got.action] += 1
        expected += probs
        variance += probs * (1 - probs)

    kept = variance > 0
    z = (counts[kept] - expected[kept]) / np.sqrt(variance[kept])
    assert np.abs(z).max() < 4


def test_the_distribution_is_that_of_its_definition(
    real: stepd.Client, request: pytest.FixtureRequest
) -> None:
    got = real.session(request.node.name).step(
        STEP,
        outputs=OUTPUTS,
        temperature=0.5,
        top_k=2,
        epsilon=0.3,
        num_actions=3,
        action_mask=[1, 0, 1, 1],
    )

    # Candidates 0 and 2, and as many are kept.
    scores = got.outputs["scores"].astype(np.float64)
    weights = np.exp(scores[[0, 2]] / 0.5)
    want = np.zeros(4)
    want[[0, 2]] = 0.7 * weights / weights.sum() + 0.3 / 2
    np.testing.assert_allclose(got.outputs["probs"], want, atol=1e-6)


def test_actors_of_a_batch_draw_as_they_say(
    real: stepd.Client, request: pytest.FixtureRequest
) -> None:
    names = [f"{request.node.name} {i}" for i in range(3)]
    rows = {name: [value] * 3 for name, value in STEP.items()}

    got = real.step_batch(
        names,
        rows,
        outputs=OUTPUTS,
        temperature=[0.0, 1.0, 0.0],
        epsilon=[0.0, 0.0, 1.0],
        top_k=[None, 1, None],
        action_mask=[None, None, [False, False, True, False]],
    )

    got.raise_errors()
    best = got.outputs["scores"].argmax(axis=1)
    assert got.actions.tolist() == [best[0], best[1], 2]
    assert got.log_probs.tolist() == [0.0, 0.0, 0.0]
    for row, name in enumerate(names):
        alone = real.session(name).step(STEP, outputs=("scores",))
        np.testing.assert_array_equal(
            alone.outputs["scores"], got.outputs["scores"][row]
        )


def test_a_mask_of_nothing_names_its_row(
    real: stepd.Client, request: pytest.FixtureRequest
) -> None:
    rows = {name: [value] * 2 for name, value in STEP.items()}
    nothing = [False] * 4

    with pytest.raises(stepd.InvalidRequest) as caught:
        real.session(request.node.name).steps(
            rows, answer="all", action_mask=[[True] * 4, nothing]
        )
    assert (caught.value.reason, caught.value.field) == ("SAMPLING", "action_mask")
    assert caught.value.metadata["row"] == "1"

    names = [f"{request.node.name} {i}" for i in range(2)]
    batch = real.step_batch(names, rows, action_mask=[nothing, [True] * 4])
    assert {row: e.reason for row, e in batch.errors.items()} == {0: "SAMPLING"}


@pytest.mark.parametrize(
    ("case", "head"),
    [("mouse_v03/none_sum_all", "dqn"), ("mouse_v1/numeric_identity", "action_value")],
)
def test_q_is_the_value_of_every_action_whatever_the_head(
    golden: Path, start_daemon: Callable[..., Daemon], case: str, head: str
) -> None:
    daemon = start_daemon(golden / case / "checkpoint")
    with stepd.connect(daemon.target, timeout=30) as client:
        policy = client.describe()
        step = {f.name: np.zeros(f.shape, f.dtype) for f in policy.fields}

        alone = client.session("a").step(step, outputs=["q"]).outputs
        both = client.session("b").step(step, outputs=["q", head]).outputs

    assert list(alone) == ["q"]
    assert alone["q"].shape == (policy.num_actions,)
    np.testing.assert_array_equal(alone["q"], both[head])
    np.testing.assert_array_equal(both["q"], both[head])


def test_a_policy_without_values_of_actions_has_no_q(
    real: stepd.Client, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(stepd.InvalidRequest) as caught:
        real.session(request.node.name).step(STEP, outputs=["q"])
    assert caught.value.reason == "OUTPUT_UNKNOWN"
