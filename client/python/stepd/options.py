# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What a step may say besides its inputs: the keywords that steps, batches and
streams have in common, and their part of a request.

Thread safety: plain values and functions.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack

from stepd.sampling import (
    BEST,
    ActionMask,
    Sampling,
    SamplingColumns,
    SamplingFields,
    choose,
    mask_row,
    mask_rows,
    split,
    to_proto,
)
from stepd.v1 import policy_service_pb2 as pb

# What the step that opens a session gives of the whole session; of several
# actors each value is a sequence with None where a session is open already.
SessionInputs: TypeAlias = Mapping[str, Any]

# What begins with a step (docs/sessions.md).
Boundary: TypeAlias = Literal["none", "episode", "task"]
_BOUNDARIES: dict[Boundary, pb.Boundary] = {
    "none": pb.BOUNDARY_NONE,
    "episode": pb.BOUNDARY_EPISODE,
    "task": pb.BOUNDARY_TASK,
}
BOUNDARIES: tuple[Boundary, ...] = tuple(_BOUNDARIES)  # by the wire's number

# What becomes of a session's context when the weights change (docs/weights.md).
KvPolicy: TypeAlias = Literal["pin", "keep", "recompute"]
_KV_POLICIES: dict[KvPolicy | None, pb.KvPolicy] = {
    None: pb.KV_POLICY_UNSPECIFIED,
    "pin": pb.KV_POLICY_PIN,
    "keep": pb.KV_POLICY_KEEP,
    "recompute": pb.KV_POLICY_RECOMPUTE,
}

# Which steps of a call are answered.
Answer: TypeAlias = Literal["last", "all"]


class StepOptions(SamplingFields, total=False):
    """Keywords of a step.

    session_inputs     what the policy reads once per session, shaped as
                       Description.session_inputs says: with the step that opens
                       the session, and only then
    outputs            names of outputs to return besides the action
    sampling           how the action is drawn; None takes the best one
    temperature, num_actions, top_k, epsilon, seed
                       in place of those of `sampling`
    action_mask        [num_actions], which actions are allowed; None: all
    boundary           what begins with this step (docs/sessions.md)
    ephemeral          ends the session with this call, as reset() after it
                       would; the server may then compute less
    min_model_version  of the weights, at least; the step waits for them
    model_label        of the weights that the context begins under
                       (docs/weights.md)
    kv_policy          of the session from this step on, when the weights change
    """

    session_inputs: SessionInputs | None
    outputs: Iterable[str]
    sampling: Sampling | None
    action_mask: ActionMask | None
    boundary: Boundary
    ephemeral: bool
    min_model_version: int
    model_label: str
    kv_policy: KvPolicy | None


class BatchOptions(SamplingColumns, total=False):
    """The same of one step of each of N actors.

    session_inputs  an entry for each actor: None where the session is open
    temperature, num_actions, top_k, epsilon, seed
                    each one for all, or one for each
    action_mask     [N, num_actions], or a sequence with None for all
    boundary        one, or one for each
    """

    session_inputs: SessionInputs | None
    outputs: Iterable[str]
    sampling: Sampling | None
    action_mask: ActionMask | None
    boundary: Boundary | Sequence[Boundary]
    ephemeral: bool
    min_model_version: int
    model_label: str
    kv_policy: KvPolicy | None


class Options(NamedTuple):
    """What keywords say, for the request and for the client."""

    tail: bytes  # what the request says besides actors, inputs and order
    session_inputs: SessionInputs | None
    ephemeral: bool
    boundary: Boundary | Sequence[Boundary]


def step_options(
    answer: Answer = "last",
    *,
    session_inputs: SessionInputs | None = None,
    outputs: Iterable[str] = (),
    sampling: Sampling | None = None,
    action_mask: ActionMask | None = None,
    boundary: Boundary = "none",
    ephemeral: bool = False,
    min_model_version: int = 0,
    model_label: str = "",
    kv_policy: KvPolicy | None = None,
    **fields: Unpack[SamplingFields],
) -> Options:
    """The keywords of a StepRequest. `answer`: as many rows has the mask."""
    tail = plain_options(
        names(outputs),
        choose(sampling, fields),
        all_steps=answer == "all",
        ephemeral=ephemeral,
        boundary=boundary,
        min_model_version=min_model_version,
        model_label=model_label,
        kv_policy=kv_policy,
    )
    if action_mask is not None:
        tail += mask_rows(action_mask) if answer == "all" else mask_row(action_mask)
    return Options(tail, session_inputs, ephemeral, boundary)


def batch_options(
    num_actors: int,
    *,
    session_inputs: SessionInputs | None = None,
    outputs: Iterable[str] = (),
    sampling: Sampling | None = None,
    action_mask: ActionMask | None = None,
    boundary: Boundary | Sequence[Boundary] = "none",
    ephemeral: bool = False,
    min_model_version: int = 0,
    model_label: str = "",
    kv_policy: KvPolicy | None = None,
    **fields: Unpack[SamplingColumns],
) -> Options:
    """The keywords of a StepBatchRequest."""
    shared, columns = split(sampling, fields)
    tail = plain_options(
        names(outputs),
        shared,
        ephemeral=ephemeral,
        min_model_version=min_model_version,
        model_label=model_label,
    )
    message = pb.StepBatchRequest(
        sampling_columns=columns, kv_policy=_kv_policy(kv_policy)
    )
    if not isinstance(boundary, str):
        message.boundaries.extend(_boundary(b) for b in boundary)
    elif boundary != "none":
        message.boundaries.extend([_boundary(boundary)] * num_actors)
    tail += message.SerializeToString()
    if action_mask is not None:
        tail += mask_rows(action_mask)
    return Options(tail, session_inputs, ephemeral, boundary)


@functools.lru_cache(maxsize=4096)
def plain_options(
    outputs: tuple[str, ...],
    sampling: Sampling = BEST,
    *,
    all_steps: bool = False,
    ephemeral: bool = False,
    boundary: Boundary = "none",
    min_model_version: int = 0,
    model_label: str = "",
    kv_policy: KvPolicy | None = None,
) -> bytes:
    """What a StepRequest says besides actor and inputs, where it has no arrays.

    Without `all_steps`, `boundary` and `kv_policy` it is good for a
    StepBatchRequest too.
    Raises InvalidRequest for a Sampling that the wire cannot carry.
    """
    message = pb.StepRequest(
        outputs=outputs,
        ephemeral=ephemeral,
        boundary=_boundary(boundary),
        min_model_version=min_model_version,
        model_label=model_label,
        kv_policy=_kv_policy(kv_policy),
    )
    if sampling != BEST:
        message.sampling.CopyFrom(to_proto(sampling))
    if all_steps:
        message.answered_steps = pb.ANSWERED_STEPS_ALL
    return message.SerializeToString()


def _boundary(boundary: Boundary) -> pb.Boundary:
    """Raises ValueError for what is no boundary."""
    if boundary not in _BOUNDARIES:
        raise ValueError(f"boundary is none, episode or task, not {boundary!r}")
    return _BOUNDARIES[boundary]


def _kv_policy(kv_policy: KvPolicy | None) -> pb.KvPolicy:
    """Raises ValueError for what is no policy."""
    if kv_policy not in _KV_POLICIES:
        raise ValueError(f"kv_policy is pin, keep or recompute, not {kv_policy!r}")
    return _KV_POLICIES[kv_policy]


def names(outputs: Iterable[str]) -> tuple[str, ...]:
    """Output names as a tuple; a bare string is a mistake, not its letters."""
    if isinstance(outputs, str):
        raise TypeError(f'outputs is a sequence of names: write ("{outputs}",)')
    return tuple(outputs)
