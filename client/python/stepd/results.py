# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Answers of the server, with NumPy arrays that read the reply's own bytes.

Arrays of outputs are therefore read-only; `.copy()` one to change it.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepd.description import DTYPES
from stepd.errors import StepdError, from_status
from stepd.v1 import policy_service_pb2 as pb

Outputs = dict[str, NDArray[np.float32]]

# What the answer's context was computed from (docs/sessions.md); "": a server
# that does not say.
ServedFrom: TypeAlias = Literal["", "new", "cache", "log", "journal"]
_SERVED_FROM: tuple[ServedFrom, ...] = ("", "new", "cache", "log", "journal")


@dataclass(slots=True, eq=False)
class StepResult:
    """The answer to one step."""

    action: int | None  # None: the policy has no actions
    # Of the action, under the distribution it was drawn from.
    log_prob: float | None
    outputs: Outputs  # by the names asked for
    step_index: int  # steps in the session, this one included
    model_version: int
    served_from: ServedFrom
    # The oldest and the newest weights that made the context of the answer.
    context_version_min: int
    context_version_max: int


@dataclass(slots=True, eq=False)
class StepsResult:
    """The answer to several steps of one actor: R = all of them, or the last.

    Of a policy without actions, `actions` and `log_probs` are empty.
    """

    actions: NDArray[np.int64]  # [R]
    log_probs: NDArray[np.float32]  # [R]
    outputs: Outputs  # [R, ...] each
    step_index: int  # steps in the session, these included
    model_version: int
    served_from: ServedFrom
    # The oldest and the newest weights that made the context of the answer.
    context_version_min: int
    context_version_max: int

    @property
    def action(self) -> int | None:
        """The last step's action; None if the policy has no actions."""
        return int(self.actions[-1]) if self.actions.size else None

    @property
    def log_prob(self) -> float | None:
        """The last step's log-probability; None if there is no action."""
        return float(self.log_probs[-1]) if self.log_probs.size else None


@dataclass(slots=True, eq=False)
class EvaluateResult:
    """What the policy says of an episode of S steps."""

    # [S], of the actions given; empty if none were.
    log_probs: NDArray[np.float32]
    outputs: Outputs  # [S, ...] each
    model_version: int


@dataclass(slots=True, eq=False)
class BatchResult:
    """The answer to one step of each of N actors.

    Of a policy without actions, `actions` and `log_probs` are empty.
    """

    actions: NDArray[np.int64]  # [N]
    log_probs: NDArray[np.float32]  # [N]
    outputs: Outputs  # [N, ...] each
    step_indices: NDArray[np.int64]  # [N]
    model_version: int  # the newest of the rows'
    served_from: list[ServedFrom]  # [N]
    model_versions: NDArray[np.int64]  # [N]
    context_versions_min: NDArray[np.int64]  # [N]
    context_versions_max: NDArray[np.int64]  # [N]
    # By row; the row's other entries are zeros and its session did not move.
    errors: dict[int, StepdError]

    def raise_errors(self) -> None:
        """Raises the error of the first row that has one."""
        if self.errors:
            raise self.errors[min(self.errors)]


def _array(tensor: pb.Tensor, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.frombuffer(tensor.data, DTYPES[tensor.dtype]).reshape(shape)


def step_result(message: pb.StepResponse) -> StepResult:
    return StepResult(
        message.actions[0] if message.actions else None,
        message.log_probs[0] if message.log_probs else None,
        {t.name: _array(t, tuple(t.shape)[1:]) for t in message.outputs},
        message.step_index,
        message.model_version,
        _SERVED_FROM[message.served_from],
        message.context_version_min,
        message.context_version_max,
    )


def steps_result(message: pb.StepResponse) -> StepsResult:
    return StepsResult(
        np.array(message.actions, np.int64),
        np.array(message.log_probs, np.float32),
        {t.name: _array(t, tuple(t.shape)) for t in message.outputs},
        message.step_index,
        message.model_version,
        _SERVED_FROM[message.served_from],
        message.context_version_min,
        message.context_version_max,
    )


def evaluate_result(message: pb.EvaluateResponse) -> EvaluateResult:
    return EvaluateResult(
        np.array(message.log_probs, np.float32),
        {t.name: _array(t, tuple(t.shape)) for t in message.outputs},
        message.model_version,
    )


def batch_result(message: pb.StepBatchResponse) -> BatchResult:
    return BatchResult(
        np.array(message.actions, np.int64),
        np.array(message.log_probs, np.float32),
        {t.name: _array(t, tuple(t.shape)) for t in message.outputs},
        np.array(message.step_indices, np.int64),
        message.model_version,
        [_SERVED_FROM[value] for value in message.served_from],
        np.array(message.model_versions, np.int64),
        np.array(message.context_versions_min, np.int64),
        np.array(message.context_versions_max, np.int64),
        {error.row: from_status(error.status) for error in message.errors},
    )
