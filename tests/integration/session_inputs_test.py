# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Images of sessions through a running daemon: who gives them, and when they go."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import stepd
from daemon import Daemon

CROSS = "kempner_forge/vlm_cross_attention"
JOINT = "kempner_forge/vlm_joint_decoder_wrapped"
IMAGE = np.random.default_rng(1).standard_normal((6, 32), np.float32)
OTHER = np.random.default_rng(2).standard_normal((6, 32), np.float32)
FEATURES = np.random.default_rng(3).standard_normal((4, 20), np.float32)


@pytest.fixture(scope="module")
def client(golden: Path, start_daemon: Callable[..., Daemon]) -> Iterator[stepd.Client]:
    daemon = start_daemon(golden / CROSS / "checkpoint", "--model.device", "cpu")
    with stepd.connect(daemon.target, timeout=60) as connected:
        yield connected


def logits(result: stepd.StepResult) -> bytes:
    return result.outputs["logits"].tobytes()


def test_describe_says_what_a_session_is_given(client: stepd.Client) -> None:
    image, mask = client.describe().session_inputs

    assert (image.name, image.shape, image.required) == ("image_embeds", (6, 32), True)
    assert (mask.name, mask.required) == ("image_mask", False)
    assert mask.dtype == np.dtype(bool)


def test_what_is_wrong_is_refused_by_name(client: stepd.Client) -> None:
    step = {"tokens": 1}

    def refused(session_inputs: dict[str, Any] | None) -> stepd.StepdError:
        with pytest.raises(stepd.StepdError) as caught:
            client.session("refused").step(step, session_inputs=session_inputs)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        return caught.value

    missing = refused(None)
    assert (missing.reason, missing.field) == ("FIELD_MISSING", "image_embeds")
    nan = refused({"image_embeds": np.full((6, 32), np.nan)})
    assert (nan.reason, nan.field) == ("FIELD_RANGE", "image_embeds")
    blind = refused({"image_embeds": IMAGE, "image_mask": np.zeros(6, bool)})
    assert blind.reason == "FIELD_RANGE"
    assert "mask" in blind.message


def test_an_image_is_of_the_whole_session(client: stepd.Client) -> None:
    session = client.session("whole")
    first = session.step(
        {"tokens": 1}, session_inputs={"image_embeds": IMAGE}, outputs=("logits",)
    )
    with pytest.raises(stepd.SessionInputsRefused) as caught:
        session.step({"tokens": 2}, session_inputs={"image_embeds": OTHER})
    second = session.step({"tokens": 2}, outputs=("logits",))
    session.reset()
    with pytest.raises(stepd.FieldError):
        session.step({"tokens": 1})
    changed = session.step(
        {"tokens": 1}, session_inputs={"image_embeds": OTHER}, outputs=("logits",)
    )

    assert caught.value.field == "image_embeds"
    assert second.step_index == 2
    assert logits(changed) != logits(first)


def test_actors_of_a_batch_open_and_go_on(client: stepd.Client) -> None:
    alone = [
        client.session(f"alone {i}").step(
            {"tokens": 3}, session_inputs={"image_embeds": image}, outputs=("logits",)
        )
        for i, image in enumerate((IMAGE, OTHER))
    ]
    client.step_batch(
        ["a"], {"tokens": [3]}, session_inputs={"image_embeds": [IMAGE]}
    ).raise_errors()

    batch = client.step_batch(
        ["b", "a", "c"],
        {"tokens": [3, 4, 3]},
        session_inputs={"image_embeds": [IMAGE, None, OTHER]},
        outputs=("logits",),
    )
    late = client.step_batch(["a", "d"], {"tokens": [5, 5]})

    batch.raise_errors()
    assert batch.step_indices.tolist() == [1, 2, 1]
    assert batch.outputs["logits"][0].tobytes() == logits(alone[0])
    assert batch.outputs["logits"][2].tobytes() == logits(alone[1])
    assert list(late.errors) == [1]
    assert late.errors[1].reason == "FIELD_MISSING"


@pytest.mark.parametrize("case", [CROSS, JOINT])
def test_evicted_sessions_answer_as_if_never_evicted(
    golden: Path, start_daemon: Callable[..., Daemon], case: str
) -> None:
    given = {"image_features": FEATURES} if case == JOINT else {"image_embeds": IMAGE}

    def play(cache: str) -> list[bytes]:
        daemon = start_daemon(
            golden / case / "checkpoint",
            *("--model.device", "cpu", "--executors.count", "1"),
            *("--sessions.cache_bytes", cache),
        )
        answers = []
        with stepd.connect(daemon.target, timeout=60) as connected:
            sessions = [connected.session(name) for name in ("a", "b", "c")]
            for token in range(6):
                for session in sessions:
                    answer = session.step(
                        {"tokens": token},
                        session_inputs=given if token == 0 else None,
                        outputs=("logits",),
                    )
                    answers.append(logits(answer))
        assert daemon.stop() == 0
        return answers

    # A block of 16 tokens is as much as one session needs.
    block = {CROSS: "10KiB", JOINT: "4KiB"}[case]
    assert play(block) == play("1MiB")
