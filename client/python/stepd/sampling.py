# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""How actions are drawn (docs/rl.md has the definitions).

Every call takes a Sampling, or single fields of it as keywords, or both: a
keyword wins. Of several actors a keyword may be a sequence with one for each.

Thread safety: plain values.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepd.errors import invalid
from stepd.v1 import policy_service_pb2 as pb

# Which actions are allowed: what NumPy reads as an array of bools (or of 0 and
# 1), [num_actions]. Of several steps or actors [N, num_actions], or a sequence
# with None where all are allowed.
ActionMask: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an action is drawn from the policy's scores.

    temperature  softmax(scores / temperature); 0 takes the best action
    num_actions  keeps the first scores only; None: all
    top_k        keeps the highest scores only; None: all
    epsilon      the probability of any allowed action instead, all alike
    seed         with the actor and the step's number it decides the draw
    """

    temperature: float = 0.0
    num_actions: int | None = None
    top_k: int | None = None
    epsilon: float = 0.0
    seed: int = 0


class SamplingFields(TypedDict, total=False):
    """The fields of a Sampling as keywords."""

    temperature: float
    num_actions: int | None
    top_k: int | None
    epsilon: float
    seed: int


# One for each actor; None is all, where one may say so.
_Column: TypeAlias = ArrayLike | Sequence[int | None]


class SamplingColumns(TypedDict, total=False):
    """The same for several actors: one for all, or one for each."""

    temperature: float | ArrayLike
    num_actions: int | _Column | None
    top_k: int | _Column | None
    epsilon: float | ArrayLike
    seed: int | ArrayLike


BEST = Sampling()

# The columns' names on the wire.
_COLUMNS = {
    "temperature": "temperatures",
    "num_actions": "num_actions",
    "top_k": "top_k",
    "epsilon": "epsilons",
    "seed": "seeds",
}


def choose(sampling: Sampling | None, fields: Mapping[str, Any]) -> Sampling:
    """`sampling`, or the best action, with `fields` in place of its own."""
    if not fields:
        return sampling or BEST
    return _replaced(sampling or BEST, tuple(fields.items()))


@functools.lru_cache(maxsize=1024)
def _replaced(sampling: Sampling, fields: tuple[tuple[str, Any], ...]) -> Sampling:
    return replace(sampling, **dict(fields))


def split(
    sampling: Sampling | None, fields: Mapping[str, Any]
) -> tuple[Sampling, pb.SamplingColumns | None]:
    """The fields that are one for all rows, and the columns of the others."""
    columns = {k: v for k, v in fields.items() if np.ndim(v) > 0}
    if not columns:
        return choose(sampling, fields), None
    message = pb.SamplingColumns()
    for name, values in columns.items():
        if name not in _COLUMNS:
            raise TypeError(f"{name!r} is no field of a Sampling")
        entries = [0 if v is None else v for v in np.asarray(values).tolist()]
        try:
            getattr(message, _COLUMNS[name]).extend(entries)
        except (TypeError, ValueError) as error:
            raise invalid("SAMPLING", f"{name}: {error}") from None
    same = {k: v for k, v in fields.items() if k not in columns}
    return choose(sampling, same), message


def to_proto(sampling: Sampling) -> pb.Sampling:
    """Raises InvalidRequest for a number that the wire cannot carry."""
    try:
        return pb.Sampling(
            temperature=sampling.temperature,
            num_actions=sampling.num_actions,
            top_k=sampling.top_k,
            epsilon=sampling.epsilon,
            seed=sampling.seed,
        )
    except ValueError as error:
        raise invalid("SAMPLING", str(error)) from None


def mask_row(mask: ActionMask) -> bytes:
    """The part of a StepRequest that says the mask of one answered step."""
    return _part(_tensor(_bools(mask)[np.newaxis]))


def mask_rows(mask: ActionMask) -> bytes:
    """The same for several steps or actors, of which some may be None."""
    return _part(mask_tensor(mask))


def mask_tensor(mask: ActionMask | None) -> pb.Tensor | None:
    """A mask of several rows as it is on the wire; None: all is allowed."""
    if mask is None:
        return None
    if isinstance(mask, (list, tuple)) and any(row is None for row in mask):
        present = [_bools(row) for row in mask if row is not None]
        if not present:
            return None
        return _tensor(np.stack(present), [int(row is not None) for row in mask])
    return _tensor(_bools(mask))


def _bools(mask: ActionMask) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype.kind not in "biu":
        raise invalid(
            "FIELD_TYPE",
            f"action_mask is of dtype {array.dtype}, want bool",
            field="action_mask",
        )
    return array.astype(bool)


def _tensor(mask: NDArray[np.bool_], lengths: list[int] | None = None) -> pb.Tensor:
    return pb.Tensor(
        dtype=pb.DATA_TYPE_BOOL,
        shape=mask.shape,
        lengths=lengths,
        data=mask.tobytes(),
    )


def _part(mask: pb.Tensor | None) -> bytes:
    return pb.StepRequest(action_mask=mask).SerializeToString()
