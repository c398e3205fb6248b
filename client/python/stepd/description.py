# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy reads and answers, and what its server allows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stepd.v1 import policy_service_pb2 as pb

# Always little-endian, as the wire is. NumPy has no bfloat16.
DTYPES: dict[int, np.dtype[Any]] = {
    pb.DATA_TYPE_BOOL: np.dtype("?"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
}


@dataclass(frozen=True)
class Field:
    """One input of a step or of a session."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of one step (session); a leading -1 varies
    min: int | None  # inclusive
    max: int | None
    required: bool
    # Of integers: value i may be given as value_names[i]. Empty: no names.
    value_names: tuple[str, ...] = ()
    # The ragged field that has as many entries in every step; "": none.
    same_length_as: str = ""

    @property
    def is_ragged(self) -> bool:
        """Whether the leading size varies from step to step."""
        return self.shape[:1] == (-1,)


@dataclass(frozen=True)
class Output:
    """One output of a step; float32."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """Beyond these the server refuses."""

    max_message_bytes: int
    max_steps_per_call: int
    max_actors_per_batch: int
    max_sessions: int
    max_steps_per_session: int


@dataclass(frozen=True)
class Description:
    """The policy in service, and its server."""

    summary: str
    fields: tuple[Field, ...]
    session_inputs: tuple[Field, ...]  # given with the step that opens a session
    outputs: tuple[Output, ...]
    action_head: str
    num_actions: int  # 0: steps are answered with outputs alone
    min_tokens_per_step: int
    max_tokens_per_step: int  # 0: as many as its fields have entries
    num_prefix_tokens: int  # of the session's inputs, before its first step's
    kv_bytes_per_token: int
    num_parameters: int
    limits: Limits
    model_version: int
    server_version: str
    device: str


def _field(message: pb.Field) -> Field:
    if message.dtype not in DTYPES:
        raise ValueError(
            f"field {message.name!r} has dtype {message.dtype}, which NumPy lacks"
        )
    return Field(
        name=message.name,
        dtype=DTYPES[message.dtype],
        shape=tuple(message.shape),
        min=message.min if message.HasField("min") else None,
        max=message.max if message.HasField("max") else None,
        required=message.required,
        value_names=tuple(message.value_names),
        same_length_as=message.same_length_as,
    )


def from_proto(message: pb.DescribeResponse) -> Description:
    """Raises ValueError if a field is of a dtype this client cannot send."""
    limits = message.limits
    return Description(
        summary=message.summary,
        fields=tuple(_field(field) for field in message.fields),
        session_inputs=tuple(_field(field) for field in message.session_inputs),
        outputs=tuple(Output(o.name, tuple(o.shape)) for o in message.outputs),
        action_head=message.action_head,
        num_actions=message.num_actions,
        min_tokens_per_step=message.min_tokens_per_step,
        max_tokens_per_step=message.max_tokens_per_step,
        num_prefix_tokens=message.num_prefix_tokens,
        kv_bytes_per_token=message.kv_bytes_per_token,
        num_parameters=message.num_parameters,
        limits=Limits(
            max_message_bytes=limits.max_message_bytes,
            max_steps_per_call=limits.max_steps_per_call,
            max_actors_per_batch=limits.max_actors_per_batch,
            max_sessions=limits.max_sessions,
            max_steps_per_session=limits.max_steps_per_session,
        ),
        model_version=message.model_version,
        server_version=message.server_version,
        device=message.device,
    )
