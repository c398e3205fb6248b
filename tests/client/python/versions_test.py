# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of the client while the daemon's weights change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepd
from daemon import Daemon

STEP: dict[str, Any] = {
    "time": 0,
    "action": 1,
    "obs_continuous": [0.5, -0.5, 0.25],
    "reward": 0.5,
    "done": 0,
}


@pytest.fixture(scope="module")
def checkpoint(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture
def daemon(checkpoint: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(checkpoint, "--sessions.kv_policy", "keep")


def test_answers_say_which_weights_made_them(daemon: Daemon, checkpoint: Path) -> None:
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        stepd.connect_model(daemon.target) as model,
    ):
        old, new = client.session("old"), client.session("new")
        old.step(STEP)
        assert model.push_weights(checkpoint / "model.safetensors") == 2

        step = old.step(STEP)
        steps = old.steps({name: [value] * 2 for name, value in STEP.items()})
        batch = client.step_batch(
            [new, old], {name: [value] * 2 for name, value in STEP.items()}
        )

    for result in (step, steps):
        assert result.model_version == 2
        assert (result.context_version_min, result.context_version_max) == (1, 2)
    assert batch.model_versions.tolist() == [2, 2]
    assert batch.context_versions_min.tolist() == [2, 1]
    assert batch.context_versions_max.tolist() == [2, 2]


def test_sessions_say_what_becomes_of_them(daemon: Daemon, checkpoint: Path) -> None:
    policies: tuple[Any, ...] = (None, "pin", "recompute")
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        stepd.connect_model(daemon.target) as model,
        client.stream() as stream,
    ):
        sessions = [client.session(str(policy)) for policy in policies]
        for session, policy in zip(sessions, policies, strict=True):
            session.step(STEP, kv_policy=policy)
        rows = {name: [value] * 2 for name, value in STEP.items()}
        client.step_batch(["batch 1", "batch 2"], rows, kv_policy="pin")
        stream.step("streamed", STEP, kv_policy="pin").result()
        model.push_weights(checkpoint / "model.safetensors")

        results = [session.step(STEP) for session in sessions]
        batch = client.step_batch(["batch 1", "batch 2"], rows)
        streamed = stream.step("streamed", STEP).result()
        with pytest.raises(ValueError, match="kv_policy"):
            sessions[0].step(STEP, kv_policy="drop")  # type: ignore[arg-type]

    made_by = [(r.context_version_min, r.context_version_max) for r in results]
    assert made_by == [(1, 2), (1, 1), (2, 2)]
    assert batch.model_versions.tolist() == [1, 1]
    assert streamed.model_version == 1


def test_a_step_asks_for_weights(daemon: Daemon, checkpoint: Path) -> None:
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        stepd.connect_model(daemon.target) as model,
        client.stream() as stream,
    ):
        with pytest.raises(stepd.VersionUnavailable):
            client.session("a").step(STEP, min_model_version=2, timeout=0.2)
        model.push_weights(checkpoint / "model.safetensors", label="next")

        labelled = client.session("b").step(STEP, model_label="next")
        streamed = stream.step("c", STEP, model_label="next").result()
        batch = client.step_batch(
            ["d", "e"],
            {name: [value] * 2 for name, value in STEP.items()},
            model_label="next",
        )
        plain = client.session("f").step(STEP)

    assert (labelled.model_version, streamed.model_version) == (2, 2)
    assert batch.model_versions.tolist() == [2, 2]
    assert plain.model_version == 1
