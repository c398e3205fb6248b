# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""StepStream against a fake service."""

from typing import Any

import grpc
import numpy as np
import pytest

import stepd
from fake_service import FakeService, dqn_row, error_status

STEP: dict[str, Any] = {"action": 0, "obs": [0.0, 0.5, 1.0]}


def test_answers_find_their_futures(client: stepd.Client) -> None:
    with client.stream() as stream:
        futures = [
            stream.step(actor, STEP, outputs=("dqn",))
            for actor in ("a", "b", "a", "a", "b")
        ]

    results = [future.result(timeout=0) for future in futures]
    assert [result.step_index for result in results] == [1, 1, 2, 3, 2]
    np.testing.assert_array_equal(results[3].outputs["dqn"], dqn_row(2))


def test_batches_and_resets_go_the_same_way(client: stepd.Client) -> None:
    rows = {"action": [0, 0], "obs": np.zeros((2, 3))}
    with client.stream() as stream:
        first = stream.step_batch(["a", "b"], rows)
        reset = stream.reset("a")
        second = stream.step_batch(["a", "b"], rows)

    assert first.result(timeout=0).step_indices.tolist() == [1, 1]
    assert reset.result(timeout=0) is None
    assert second.result(timeout=0).step_indices.tolist() == [1, 2]


def test_an_error_ends_its_request_only(
    service: FakeService, client: stepd.Client
) -> None:
    service.fail_actor["bad"] = error_status(
        grpc.StatusCode.FAILED_PRECONDITION, "CONTEXT_FULL"
    )
    with client.stream() as stream:
        bad = stream.step("bad", STEP)
        good = stream.step("good", STEP)

    assert isinstance(bad.exception(timeout=0), stepd.ContextFull)
    assert good.result(timeout=0).step_index == 1


def test_wrong_inputs_raise_at_once(client: stepd.Client) -> None:
    with client.stream() as stream, pytest.raises(stepd.FieldError):
        stream.step("a", {"action": 0})


def test_a_broken_stream_fails_what_waits_and_what_follows(
    service: FakeService, client: stepd.Client
) -> None:
    client.describe()
    service.fail_next = error_status(grpc.StatusCode.UNAVAILABLE, "DRAINING", "bye")
    stream = client.stream()
    waiting = stream.step("a", STEP)

    assert isinstance(waiting.exception(timeout=30), stepd.Draining)
    with pytest.raises(stepd.Draining, match="bye"):
        stream.step("a", STEP)
    stream.close()


def test_a_closed_stream_takes_nothing(client: stepd.Client) -> None:
    stream = client.stream()
    stream.close()
    stream.close()

    with pytest.raises(stepd.Cancelled):
        stream.step("a", STEP)


def test_closing_waits_no_longer_than_the_timeout(service: FakeService) -> None:
    with stepd.connect(service.target, timeout=0.2) as client:
        client.describe(timeout=30)
        service.hold.clear()
        stream = client.stream()
        waiting = stream.step("a", STEP)
        stream.close()

        assert isinstance(waiting.exception(timeout=0), stepd.Cancelled)


def test_an_exception_inside_cancels_what_waits(
    service: FakeService, client: stepd.Client
) -> None:
    client.describe()
    service.hold.clear()

    with pytest.raises(KeyError), client.stream() as stream:
        waiting = stream.step("a", STEP)
        raise KeyError("the actor's own")

    assert isinstance(waiting.exception(timeout=0), stepd.Cancelled)
