# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""When a call is tried again, against a fake service."""

import itertools
import time
from typing import Any

import grpc
import pytest

import stepd
from fake_service import FakeService, error_status
from stepd.errors import make_error
from stepd.retry import is_lost

STEP: dict[str, Any] = {"action": 0, "obs": [0.0, 0.5, 1.0]}
QUICK = stepd.Retry(first=0.001, longest=0.002)


def test_waits_are_random_below_a_bound_that_doubles() -> None:
    draws = [
        list(itertools.islice(stepd.Retry(first=1.0, longest=5.0).waits(), 5))
        for _ in range(200)
    ]

    for n, bound in enumerate([1.0, 2.0, 4.0, 5.0, 5.0]):
        waits = [draw[n] for draw in draws]
        assert 0.0 <= min(waits) < 0.25 * bound
        assert 0.75 * bound < max(waits) <= bound


@pytest.mark.parametrize(
    ("code", "reason", "lost"),
    [
        ("UNAVAILABLE", "", True),
        ("UNAVAILABLE", "DRAINING", True),
        ("INTERNAL", "", True),
        ("INTERNAL", "INTERNAL", False),
        ("UNKNOWN", "", True),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", False),
        ("DEADLINE_EXCEEDED", "", False),
        ("INVALID_ARGUMENT", "FIELD_SHAPE", False),
    ],
)
def test_lost_is_what_nobody_answered(code: str, reason: str, lost: bool) -> None:
    assert is_lost(make_error(grpc.StatusCode[code], reason, "")) is lost


def test_a_step_that_nobody_answered_is_sent_again(service: FakeService) -> None:
    with stepd.connect(service.target, retry=QUICK) as client:
        session = client.session("a")
        session.step(STEP)
        service.fail_next = error_status(grpc.StatusCode.UNAVAILABLE, "DRAINING")

        assert session.step(STEP).step_index == 2

    assert [step.step_index for step in service.requests] == [0, 1]


def test_trying_ends_before_the_timeout(service: FakeService) -> None:
    with stepd.connect(service.target, retry=QUICK, timeout=5) as client:
        client.describe()
        service.fail_next = error_status(
            grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after=60.0
        )
        begin = time.monotonic()

        with pytest.raises(stepd.Draining):
            client.session("a").step(STEP)

        assert time.monotonic() - begin < 5


@pytest.mark.parametrize("options", [{"exactly_once": False}, {"retry": None}])
def test_steps_are_sent_once_where_the_client_is_told_so(
    service: FakeService, options: dict[str, Any]
) -> None:
    with stepd.connect(service.target, **options) as client:
        client.describe()
        service.fail_next = error_status(grpc.StatusCode.UNAVAILABLE)

        with pytest.raises(stepd.Unavailable):
            client.session("a").step(STEP)


def test_steps_are_not_numbered_where_the_client_is_told_so(
    service: FakeService,
) -> None:
    with (
        stepd.connect(service.target, exactly_once=False) as client,
        client.session("a") as session,
    ):
        session.step(STEP)

    step, reset = service.requests
    assert not step.HasField("step_index") and not step.HasField("epoch")
    assert not reset.HasField("epoch")
