# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What a session was sent, kept to send it again to a server that lost it.

Steps are kept in columns, one piece of memory per field. A request whose step is
answered is only held on to at first, which costs next to nothing, if all requests
of one step have one layout, or if it is a batch's, which its sessions share. Many
of them are turned into columns at once.

Thread safety: none; a log belongs to its session.
"""

from array import array
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stepd.v1 import policy_service_pb2 as pb

# Requests that are turned into columns at once.
_NUM_RECENT = 256


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Where StepRequests of one step have the data of their inputs."""

    num_bytes: int  # of all inputs, which come first
    # Each as it is on the wire, without data; where the data begins and ends.
    inputs: tuple[tuple[pb.Tensor, int, int], ...]


class SentBatch:
    """A StepBatchRequest, as the logs of its sessions hold on to it."""

    def __init__(self, request: bytes, num_rows: int) -> None:
        self._request = request
        self.row_bytes = len(request) // max(num_rows, 1)

    @cached_property
    def columns(self) -> dict[str, tuple[pb.Tensor, bytes, int]] | None:
        """By field: its tensor, all data, bytes of a row. None: rows differ."""
        batch = pb.StepBatchRequest.FromString(self._request)
        if batch.session_inputs or batch.boundaries:
            return None
        columns = {}
        for tensor in batch.inputs:
            if tensor.lengths:
                return None
            data = tensor.data  # A copy, each time.
            columns[tensor.name] = (tensor, data, len(data) // tensor.shape[0])
        return columns

    @cached_property
    def rows(self) -> list[pb.StepRequest]:
        """What each of its actors is given to read."""
        batch = pb.StepBatchRequest.FromString(self._request)
        rows = [pb.StepRequest() for _ in batch.actor_ids]
        for row, boundary in zip(rows, batch.boundaries, strict=False):
            row.boundary = boundary
        for tensor in batch.inputs:
            _split(tensor, [row.inputs for row in rows])
        for tensor in batch.session_inputs:
            _split(tensor, [row.session_inputs for row in rows])
        return rows


def _split(tensor: pb.Tensor, rows: list[Any]) -> None:
    """Adds to each of `rows`, which are repeated fields, its part of `tensor`."""
    data = tensor.data
    size = len(data) // max(tensor.shape[0], 1)
    entry_shape = tuple(tensor.shape)[1:]
    begin = 0
    for row, length in zip(rows, tensor.lengths or [1] * len(rows), strict=True):
        end = begin + length * size
        row.add(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=(length, *entry_shape),
            data=data[begin:end],
            lengths=[length] if tensor.lengths else None,
        )
        begin = end


class _Column:
    """The values of one field in the steps so far."""

    def __init__(self, tensor: pb.Tensor, num_rows: int) -> None:
        """`num_rows` steps did not have the field."""
        self._head = pb.Tensor(name=tensor.name, dtype=tensor.dtype)
        self._entry_shape = tuple(tensor.shape)[1:]
        self._data = bytearray()
        # Entries that each step has, and up to it; None: one each.
        self._lengths = array("L", [0] * num_rows) if num_rows else None
        self._ends = array("Q", [0] * num_rows) if num_rows else None
        self._num_rows = num_rows

    def append(self, tensor: pb.Tensor | None, count: int) -> int:
        """Appends `count` steps; None: they lack the field. Returns its bytes."""
        lengths = [0] * count if tensor is None else list(tensor.lengths)
        if lengths or self._lengths is not None:
            self._append_lengths(lengths or [1] * count)
        self._num_rows += count
        if tensor is None:
            return 0
        self._data += tensor.data
        return len(tensor.data)

    def append_rows(self, data: bytes, count: int) -> int:
        """Appends `count` steps of one entry each. Returns its bytes."""
        if self._lengths is not None:
            self._append_lengths([1] * count)
        self._num_rows += count
        self._data += data
        return len(data)

    def rows(self, first: int, end: int) -> pb.Tensor:
        """Steps [first, end) as a tensor."""
        tensor = pb.Tensor()
        tensor.CopyFrom(self._head)
        begin_entry, end_entry, num_entries = first, end, self._num_rows
        if self._lengths is not None and self._ends is not None:
            begin_entry = self._ends[first - 1] if first else 0
            end_entry = self._ends[end - 1]
            num_entries = self._ends[-1]
            tensor.lengths.extend(self._lengths[first:end])
        size = len(self._data) // max(num_entries, 1)
        tensor.shape.extend((end_entry - begin_entry, *self._entry_shape))
        tensor.data = bytes(self._data[begin_entry * size : end_entry * size])
        return tensor

    def _append_lengths(self, lengths: list[int]) -> None:
        if self._lengths is None or self._ends is None:
            self._lengths = array("L", [1] * self._num_rows)
            self._ends = array("Q", range(1, self._num_rows + 1))
        end = self._ends[-1] if self._ends else 0
        for length in lengths:
            end += length
            self._lengths.append(length)
            self._ends.append(end)


class StepLog:
    """The steps of one session from its first one on, or none of them."""

    def __init__(
        self, max_bytes: int, row_layout: RowLayout | None, head_size: int
    ) -> None:
        """A log of more than `max_bytes` is given up.

        `row_layout` is of requests without their first `head_size` bytes; None:
        they have none.
        """
        self._max_bytes = max_bytes
        self.row_layout = row_layout
        self._head_size = head_size
        self.clear()

    def clear(self) -> None:
        """Forgets everything: the next step is a session's first."""
        self._columns: dict[str, _Column] = {}
        self._session_inputs: list[pb.Tensor] = []
        self._boundaries: dict[int, pb.Boundary] = {}  # by step index
        self._num_steps = 0
        # Not in the columns yet: requests of one step and one layout, or else
        # rows of batches.
        self._recent: list[bytes] = []
        self._recent_rows: list[tuple[SentBatch, int]] = []
        self._num_bytes = 0
        self.is_complete = True

    def copy(self, head_size: int) -> "StepLog":
        """The same steps, to go on from alone; `head_size` as for a new log."""
        self._fill_columns()
        log = StepLog(self._max_bytes, self.row_layout, head_size)
        log._columns = deepcopy(self._columns)
        log._session_inputs = list(self._session_inputs)
        log._boundaries = dict(self._boundaries)
        log._num_steps = self._num_steps
        log._num_bytes = self._num_bytes
        log.is_complete = self.is_complete
        return log

    def append_row(self, request: bytes) -> None:
        """Adds the step of a request that was answered. REQUIRES: row_layout."""
        if not self.is_complete:
            return
        if self._recent_rows:
            self._fill_columns()
        self._recent.append(request)
        self._num_bytes += len(request)
        if len(self._recent) >= _NUM_RECENT or self._num_bytes > self._max_bytes:
            self._fill_columns()

    def append_batch_row(self, batch: SentBatch, row: int) -> None:
        """Adds the step of a row of a batch that was answered."""
        if not self.is_complete:
            return
        if self._recent:
            self._fill_columns()
        self._recent_rows.append((batch, row))
        self._num_bytes += batch.row_bytes
        if len(self._recent_rows) >= _NUM_RECENT or self._num_bytes > self._max_bytes:
            self._fill_columns()

    def append(self, message: pb.StepRequest, count: int) -> None:
        """Adds the `count` steps of any request that was answered."""
        if not self.is_complete:
            return
        self._fill_columns()
        if self._num_steps == 0:
            self._session_inputs = list(message.session_inputs)
            self._num_bytes += sum(len(t.data) for t in self._session_inputs)
        if message.boundary != pb.BOUNDARY_NONE:
            self._boundaries[self._num_steps] = message.boundary
        given = {tensor.name: tensor for tensor in message.inputs}
        for tensor in message.inputs:
            self._column(tensor)
        for name, column in self._columns.items():
            self._num_bytes += column.append(given.get(name), count)
        self._num_steps += count
        self._check_size()

    def requests(self, first: int, max_steps: int) -> Iterator[tuple[int, bytes]]:
        """StepRequests of the steps from `first` on, and their step indices.

        They lack actor, order and options; each has at most `max_steps` steps.
        """
        self._fill_columns()
        begins = sorted(i for i in self._boundaries if i > first)
        index = first
        while index < self._num_steps:
            end = min(index + max_steps, self._num_steps)
            end = min([end, *(i for i in begins if i > index)])
            yield index, self._request(index, end).SerializeToString()
            index = end

    def _request(self, first: int, end: int) -> pb.StepRequest:
        request = pb.StepRequest()
        request.inputs.extend(c.rows(first, end) for c in self._columns.values())
        if first == 0:
            request.session_inputs.extend(self._session_inputs)
        if first in self._boundaries:
            request.boundary = self._boundaries[first]
        return request

    def _fill_columns(self) -> None:
        if self._recent_rows:
            rows, self._recent_rows = self._recent_rows, []
            self._num_bytes -= sum(batch.row_bytes for batch, _ in rows)
            self._append_batch_rows(rows)
        if self._recent:
            self._append_requests()

    def _append_batch_rows(self, rows: list[tuple[SentBatch, int]]) -> None:
        columns = [b.columns for b, _ in rows if b.columns is not None]
        names = columns[0].keys() if columns else set()
        is_uniform = (
            len(columns) == len(rows)
            and all(each.keys() == names for each in columns)
            and self._columns.keys() <= names
        )
        if not is_uniform:
            for batch, row in rows:
                self.append(batch.rows[row], 1)
            return
        for name, (tensor, _, size) in columns[0].items():
            pieces = [
                each[name][1][row * size : (row + 1) * size]
                for each, (_, row) in zip(columns, rows, strict=True)
            ]
            data = b"".join(pieces)
            self._num_bytes += self._column(tensor).append_rows(data, len(rows))
        self._num_steps += len(rows)
        self._check_size()

    def _append_requests(self) -> None:
        assert self.row_layout is not None
        begin, end = self._head_size, self._head_size + self.row_layout.num_bytes
        count = len(self._recent)
        joined = b"".join([request[begin:end] for request in self._recent])
        self._num_bytes -= sum(map(len, self._recent))
        self._recent.clear()
        rows = np.frombuffer(joined, np.uint8).reshape(count, -1)
        for tensor, first, last in self.row_layout.inputs:
            data = rows[:, first:last].tobytes()
            self._num_bytes += self._column(tensor).append_rows(data, count)
        self._num_steps += count
        self._check_size()

    def _column(self, tensor: pb.Tensor) -> _Column:
        if tensor.name not in self._columns:
            self._columns[tensor.name] = _Column(tensor, self._num_steps)
        return self._columns[tensor.name]

    def _check_size(self) -> None:
        if self._num_bytes > self._max_bytes:
            self.clear()
            self.is_complete = False
