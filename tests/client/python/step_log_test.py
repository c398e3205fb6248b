# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A log of rows of batches holds what a log of their single steps would."""

import random

import numpy as np
import pytest

from stepd.step_log import SentBatch, StepLog
from stepd.v1 import policy_service_pb2 as pb

NUM_ROWS = 3
MANY = 600  # more than are held on to


def batch_of(number: int, kind: str) -> pb.StepBatchRequest:
    """Its values tell number and row apart."""
    batch = pb.StepBatchRequest(actor_ids=[f"a{i}" for i in range(NUM_ROWS)])
    obs = np.arange(2 * NUM_ROWS, dtype=np.float32) + 10 * number
    batch.inputs.add(
        name="obs",
        dtype=pb.DATA_TYPE_FLOAT32,
        shape=[NUM_ROWS, 2],
        data=obs.tobytes(),
    )
    if kind == "optional":  # the middle row lacks it
        goal = np.array([number, -number], np.int64)
        batch.inputs.add(
            name="goal",
            dtype=pb.DATA_TYPE_INT64,
            shape=[2],
            data=goal.tobytes(),
            lengths=[1, 0, 1],
        )
    elif kind == "further":  # a field that others lack
        action = np.full(NUM_ROWS, number, np.int64)
        batch.inputs.add(
            name="action",
            dtype=pb.DATA_TYPE_INT64,
            shape=[NUM_ROWS],
            data=action.tobytes(),
        )
    elif kind == "boundary":
        batch.boundaries.extend([pb.BOUNDARY_EPISODE, pb.BOUNDARY_TASK] * 2)
        del batch.boundaries[NUM_ROWS:]
    return batch


def requests_of(log: StepLog) -> list[tuple[int, bytes]]:
    return list(log.requests(0, max_steps=50))


@pytest.mark.parametrize(
    "kinds",
    [
        ["plain"],
        ["plain", "optional"],
        ["plain", "further", "plain"],
        ["plain", "plain", "plain", "boundary"],
        ["further", "optional", "boundary", "plain"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("row", range(NUM_ROWS))
def test_rows_of_batches_are_logged_as_single_steps_are(
    kinds: list[str], row: int
) -> None:
    draw = random.Random(row)
    of_rows = StepLog(1 << 30, None, 0)
    of_steps = StepLog(1 << 30, None, 0)

    for number in range(MANY):
        kind = kinds[number] if number < len(kinds) else draw.choice(kinds)
        batch = batch_of(number, kind).SerializeToString()
        of_rows.append_batch_row(SentBatch(batch, NUM_ROWS), row)
        of_steps.append(SentBatch(batch, NUM_ROWS).rows[row], 1)

    assert len(requests_of(of_rows)) >= MANY // 50
    assert requests_of(of_rows) == requests_of(of_steps)


def test_a_log_that_is_too_large_is_given_up() -> None:
    batch = batch_of(0, "plain").SerializeToString()
    log = StepLog(100 * len(batch) // NUM_ROWS, None, 0)

    for _ in range(90):
        log.append_batch_row(SentBatch(batch, NUM_ROWS), 0)
    assert log.is_complete
    for _ in range(1000):
        log.append_batch_row(SentBatch(batch, NUM_ROWS), 0)
    assert not log.is_complete
