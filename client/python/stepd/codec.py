# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Requests as bytes: NumPy arrays and Python numbers in, protobuf's wire form out.

A step's cost in Python decides how many actors one process can play, so a
request is not built as a tree of messages: serialized messages put one after
another merge, hence a request is the bytes of its actor ID, of each input, and
of its options, and all but the data of the inputs is the same from step to
step and kept. The data is copied once, into the request.

Thread safety: a Codec is constant after construction.
"""

import functools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepd.description import DTYPES, Description, Field
from stepd.errors import invalid
from stepd.options import SessionInputs
from stepd.step_log import RowLayout
from stepd.v1 import policy_service_pb2 as pb

# Field names and their values: what NumPy reads as an array; None where an
# optional field is absent. Of several steps or actors the values have a leading
# dimension, or are a sequence with an entry for each, which may be None for an
# optional field and may differ in leading size for a ragged one. Where a field
# names its values, names may stand for them.
Inputs: TypeAlias = Mapping[str, Any]

# Pieces of a request, to be joined: bytes, or arrays that are C-contiguous.
Parts: TypeAlias = list[Any]

_ENUMS = {dtype: enum for enum, dtype in DTYPES.items()}

# The struct module's letter for one element, by NumPy's name without byte order.
_STRUCT = {"b1": "?", "u1": "B", "i4": "i", "i8": "q", "f2": "e", "f4": "f", "f8": "d"}

# Field numbers and wire types (protobuf's "tag" bytes) of what is written here.
_INPUTS_TAG = b"\x12"  # StepRequest.inputs and StepBatchRequest.inputs: 2, bytes
_SESSION_INPUTS_TAG = b"\x32"  # and .session_inputs: 6, bytes
_EVALUATION_INPUTS_TAG = b"\x0a"  # EvaluateRequest.inputs: 1, bytes
_EVALUATION_SESSION_INPUTS_TAG = b"\x3a"  # and .session_inputs: 7, bytes
_DATA_TAG = b"\x22"  # Tensor.data: 4, bytes


def varint(value: int) -> bytes:
    """A non-negative integer as protobuf writes it: 7 bits a byte, low first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _input_prefix(tag: bytes, tensor: pb.Tensor, num_bytes: int) -> bytes:
    """An input up to its data; `tensor` is everything but the data."""
    head = tensor.SerializeToString() + _DATA_TAG + varint(num_bytes)
    return tag + varint(len(head) + num_bytes) + head


@functools.lru_cache(maxsize=4096)
def _dense_prefix(
    tag: bytes, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], num_bytes: int
) -> bytes:
    tensor = pb.Tensor(name=name, dtype=_ENUMS[dtype], shape=shape)  # type: ignore[arg-type]
    return _input_prefix(tag, tensor, num_bytes)


class _FieldEncoder:
    """Writes the values of one field."""

    def __init__(self, field: Field, tag: bytes = _INPUTS_TAG) -> None:
        self.field = field
        self._tag = tag
        self._values = {name: i for i, name in enumerate(field.value_names)}
        self._pack = struct.Struct("<" + _STRUCT[field.dtype.str[1:]]).pack
        # Python numbers that need no NumPy; their exact types: a bool is an int.
        self._numbers: tuple[type, ...] = ()
        if field.shape == () and field.dtype.kind in "iu":
            self._numbers = (int,)
        elif field.shape == () and field.dtype.kind == "f":
            self._numbers = (float, int)
        self.step_prefix = b"" if field.is_ragged else self._prefix((1, *field.shape))

    def add_step(self, value: Any, parts: Parts) -> None:
        """Adds one step's value."""
        if type(value) in self._numbers:
            try:
                parts += (self.step_prefix, self._pack(value))
                return
            except struct.error:
                raise self._out_of_range(value) from None
            except OverflowError:
                pass  # Beyond the largest float: infinite, as NumPy has it.
        array = self._array(value)
        if self.field.is_ragged:
            self._check_entry(array.shape)
            self._add_ragged(array, [len(array)], parts)
        elif array.shape == self.field.shape:
            parts += (self.step_prefix, array)
        else:
            raise self._wrong_shape(array.shape, self.field.shape)

    def add_rows(self, values: Any, count: int, parts: Parts) -> None:
        """Adds the values of `count` steps or actors."""
        if self.field.is_ragged and isinstance(values, (list, tuple)):
            return self._add_varied(values, count, parts)
        if not isinstance(values, np.ndarray):
            try:
                values = np.asarray(values)
            except ValueError:  # Entries of different shapes, or some are None.
                return self._add_varied(values, count, parts)
        if values.dtype.kind == "O" and values.ndim == 1:
            return self._add_varied(values, count, parts)
        array = self._array(values)
        if self.field.is_ragged:
            want = (count, *self.field.shape)
            if array.ndim != len(want) or array.shape[2:] != want[2:]:
                raise self._wrong_shape(array.shape, want)
            rows, length = array.shape[:2]
            flat = array.reshape(rows * length, *array.shape[2:])
            return self._add_ragged(flat, [length] * rows, parts)
        if array.shape != (count, *self.field.shape):
            raise self._wrong_shape(array.shape, (count, *self.field.shape))
        parts += (self._prefix(array.shape), array)

    def _add_varied(self, values: Sequence[Any], count: int, parts: Parts) -> None:
        """Adds values of which some are None or differ in their leading size."""
        if len(values) != count:
            raise self._wrong_shape((len(values),), (count, *self.field.shape))
        lengths = []
        present = []
        for value in values:
            if value is None:
                if self.field.required:
                    raise self.missing()
                lengths.append(0)
                continue
            array = self._array(value)
            if self.field.is_ragged:
                self._check_entry(array.shape)
                lengths.append(len(array))
                present.append(array)
            elif array.shape == self.field.shape:
                lengths.append(1)
                present.append(array[np.newaxis])
            else:
                raise self._wrong_shape(array.shape, self.field.shape)
        if not present:
            return
        array = np.concatenate(present)
        if self.field.required and not self.field.is_ragged:
            parts += (self._prefix(array.shape), array)
        else:
            self._add_ragged(array, lengths, parts)

    def _add_ragged(
        self, array: NDArray[Any], lengths: list[int], parts: Parts
    ) -> None:
        tensor = pb.Tensor(
            name=self.field.name,
            dtype=_ENUMS[self.field.dtype],  # type: ignore[arg-type]
            shape=array.shape,
            lengths=lengths,
        )
        parts += (_input_prefix(self._tag, tensor, array.nbytes), array)

    def _prefix(self, shape: tuple[int, ...]) -> bytes:
        num_bytes = self.field.dtype.itemsize
        for size in shape:
            num_bytes *= size
        field = self.field
        return _dense_prefix(self._tag, field.name, field.dtype, shape, num_bytes)

    def _array(self, value: Any) -> NDArray[Any]:
        """`value` as a C-contiguous array of the field's dtype."""
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise self._invalid("FIELD_SHAPE", str(error)) from None
        if array.dtype.kind == "U" and self._values:
            array = self._values_of(array)
        if array.dtype != self.field.dtype:
            if array.size == 0 and not isinstance(value, np.ndarray):
                array = array.astype(self.field.dtype)  # [] says nothing of dtype.
            else:
                array = self._convert(array)
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        return array

    def _values_of(self, names: NDArray[Any]) -> NDArray[Any]:
        """The values that the field gives these names."""
        try:
            values = [self._values[name] for name in names.ravel().tolist()]
        except KeyError as error:
            known = ", ".join(self._values)
            raise self._invalid(
                "FIELD_RANGE",
                f"{error} is none of {known}",
                got=str(error.args[0]),
                want=known,
            ) from None
        return np.array(values, self.field.dtype).reshape(names.shape)

    def _convert(self, array: NDArray[Any]) -> NDArray[Any]:
        """Integers to integers that hold them, real numbers to real numbers."""
        want = self.field.dtype
        if want.kind in "iu" and array.dtype.kind in "iu":
            if not np.can_cast(array.dtype, want) and array.size > 0:
                info = np.iinfo(want)
                low, high = int(array.min()), int(array.max())
                if low < info.min or high > info.max:
                    raise self._out_of_range(low if low < info.min else high)
            return array.astype(want)
        if want.kind == "f" and array.dtype.kind in "iuf":
            with np.errstate(over="ignore"):  # The server judges infinities.
                return array.astype(want)
        raise self._invalid(
            "FIELD_TYPE",
            f"dtype is {array.dtype}, want {want}",
            got=str(array.dtype),
            want=str(want),
        )

    def _check_entry(self, shape: tuple[int, ...]) -> None:
        """Checks the shape of one step's value of a ragged field."""
        want = self.field.shape
        if len(shape) != len(want) or shape[1:] != want[1:]:
            raise self._wrong_shape(shape, want)

    def missing(self) -> Exception:
        return self._invalid("FIELD_MISSING", "is missing")

    def _out_of_range(self, value: int) -> Exception:
        return self._invalid(
            "FIELD_RANGE",
            f"{value} does not fit {self.field.dtype}",
            got=str(value),
            want=str(self.field.dtype),
        )

    def _wrong_shape(self, got: tuple[int, ...], want: tuple[int, ...]) -> Exception:
        return self._invalid(
            "FIELD_SHAPE",
            f"shape is {list(got)}, want {list(want)}",
            got=str(list(got)),
            want=str(list(want)),
        )

    def _invalid(self, reason: str, what: str, **metadata: str) -> Exception:
        message = f"field '{self.field.name}': {what}"
        return invalid(reason, message, field=self.field.name, **metadata)


_Encoders: TypeAlias = Mapping[str, _FieldEncoder]


def _add_step(encoders: _Encoders, inputs: Inputs, parts: Parts) -> None:
    found = 0
    for name, encoder in encoders.items():
        value = inputs.get(name)
        if value is not None:
            found += 1
            encoder.add_step(value, parts)
        elif encoder.field.required:
            raise encoder.missing()
    if found != len(inputs):
        _check_names(encoders, inputs)


def _add_rows(encoders: _Encoders, inputs: Inputs, count: int, parts: Parts) -> None:
    found = 0
    for name, encoder in encoders.items():
        value = inputs.get(name)
        if value is not None:
            found += 1
            encoder.add_rows(value, count, parts)
        elif encoder.field.required:
            raise encoder.missing()
    if found != len(inputs):
        _check_names(encoders, inputs)


def _check_names(encoders: _Encoders, inputs: Inputs) -> None:
    for name in inputs:
        if name not in encoders:
            known = ", ".join(encoders) or "none"
            raise invalid(
                "FIELD_UNKNOWN", f"field '{name}': the policy has {known}", field=name
            )


def _row_layout(encoders: Iterable[_FieldEncoder]) -> RowLayout | None:
    """The layout of Codec.step(); None: steps differ in theirs."""
    begin = 0
    inputs = []
    for encoder in encoders:
        field = encoder.field
        if field.is_ragged or not field.required:
            return None
        begin += len(encoder.step_prefix)
        end = begin + field.dtype.itemsize * math.prod(field.shape)
        tensor = pb.Tensor(name=field.name, dtype=_ENUMS[field.dtype])  # type: ignore[arg-type]
        tensor.shape.extend((1, *field.shape))
        inputs.append((tensor, begin, end))
        begin = end
    return RowLayout(begin, tuple(inputs))


def count_rows(inputs: Inputs) -> int:
    """The leading size of the first field given; FieldError if it has none."""
    for name, value in inputs.items():
        if value is None:
            continue
        try:
            return len(value)
        except TypeError:
            message = f"field '{name}': a leading dimension of steps is missing"
            raise invalid("FIELD_SHAPE", message, field=name) from None
    raise invalid("FIELD_MISSING", "no field is given")


def step_head(actor_id: str) -> bytes:
    """The part of a StepRequest that is the same in all of an actor's steps."""
    return pb.StepRequest(actor_id=actor_id).SerializeToString()


class Codec:
    """Writes requests for one policy.

    Every method raises FieldError for a field that is unknown, missing, or of a
    wrong dtype or shape. Ranges and NaN are the server's to judge.
    """

    def __init__(self, description: Description) -> None:
        self._encoders = {f.name: _FieldEncoder(f) for f in description.fields}
        self._session_encoders = {
            f.name: _FieldEncoder(f, _SESSION_INPUTS_TAG)
            for f in description.session_inputs
        }
        self._evaluation_encoders = {
            f.name: _FieldEncoder(f, _EVALUATION_INPUTS_TAG) for f in description.fields
        }
        self._evaluation_session_encoders = {
            f.name: _FieldEncoder(f, _EVALUATION_SESSION_INPUTS_TAG)
            for f in description.session_inputs
        }
        self.row_layout = _row_layout(self._encoders.values())
        # In a batch not every actor's session opens.
        self._optional_session_encoders = {
            f.name: _FieldEncoder(replace(f, required=False), _SESSION_INPUTS_TAG)
            for f in description.session_inputs
        }

    def step(
        self,
        head: bytes,
        inputs: Inputs,
        tail: bytes,
        session_inputs: SessionInputs | None = None,
    ) -> bytes:
        """A StepRequest of one step; inputs have no leading dimension.

        `head` is of step_head(), `tail` of options().
        """
        parts: Parts = [head]
        _add_step(self._encoders, inputs, parts)
        if session_inputs is not None:
            _add_step(self._session_encoders, session_inputs, parts)
        parts.append(tail)
        return b"".join(parts)

    def steps(
        self,
        head: bytes,
        inputs: Inputs,
        tail: bytes,
        session_inputs: SessionInputs | None = None,
    ) -> bytes:
        """A StepRequest of as many steps as the inputs' leading dimension says."""
        parts: Parts = [head]
        _add_rows(self._encoders, inputs, count_rows(inputs), parts)
        if session_inputs is not None:
            _add_step(self._session_encoders, session_inputs, parts)
        parts.append(tail)
        return b"".join(parts)

    def batch(
        self,
        actor_ids: Sequence[str],
        inputs: Inputs,
        tail: bytes,
        session_inputs: SessionInputs | None = None,
    ) -> bytes:
        """A StepBatchRequest; inputs have a leading dimension of actors."""
        message = pb.StepBatchRequest(actor_ids=actor_ids)
        parts: Parts = [message.SerializeToString()]
        count = len(actor_ids)
        _add_rows(self._encoders, inputs, count, parts)
        if session_inputs is not None:
            _add_rows(self._optional_session_encoders, session_inputs, count, parts)
        parts.append(tail)
        return b"".join(parts)

    def evaluation(self, inputs: Inputs, session_inputs: SessionInputs | None) -> bytes:
        """The part of an EvaluateRequest that the policy reads."""
        parts: Parts = []
        _add_rows(self._evaluation_encoders, inputs, count_rows(inputs), parts)
        if session_inputs is not None:
            _add_step(self._evaluation_session_encoders, session_inputs, parts)
        return b"".join(parts)
