# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as the bytes of a safetensors file, from a file or from memory."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}


class WeightsFile:
    """A safetensors file: read from a path, or made of arrays by their names.

    Arrays are NumPy arrays or PyTorch tensors (on any device); they must not
    change before the file has been read.
    """

    def __init__(self, weights: str | Path | Mapping[str, Any]) -> None:
        self._path: Path | None = None
        self._pieces: list[memoryview] = []
        if isinstance(weights, Mapping):
            self._pieces = _pieces(weights)
            self.num_bytes = sum(piece.nbytes for piece in self._pieces)
        else:
            self._path = Path(weights)
            self.num_bytes = self._path.stat().st_size

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        """The bytes of the file, in pieces."""
        if self._path is not None:
            with self._path.open("rb") as file:
                while chunk := file.read(max_bytes):
                    yield chunk
            return
        for piece in self._pieces:
            for begin in range(0, piece.nbytes, max_bytes):
                yield bytes(piece[begin : begin + max_bytes])

    def sha256(self) -> bytes:
        """Of the whole file."""
        digest = hashlib.sha256()
        for chunk in self.chunks(1 << 22):
            digest.update(chunk)
        return digest.digest()


def _pieces(weights: Mapping[str, Any]) -> list[memoryview]:
    """The header, and the bytes of each tensor."""
    header: dict[str, Any] = {}
    pieces: list[memoryview] = []
    offset = 0
    for name, value in weights.items():
        dtype, array = _array(name, value)
        # A view of bytes: an array without a dimension has none of its own.
        piece = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + piece.nbytes],
        }
        offset += piece.nbytes
        pieces.append(piece)
    text = json.dumps(header).encode()
    return [memoryview(len(text).to_bytes(8, "little") + text), *pieces]


def _array(name: str, value: Any) -> tuple[str, np.ndarray[Any, Any]]:
    """The file's word for the dtype, and an array of as many bytes per element."""
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise TypeError(f"{name}: weights of dtype {dtype} cannot be pushed")
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        if dtype == "bfloat16":  # NumPy has none.
            tensor = tensor.contiguous().view(sys.modules["torch"].int16)
        value = tensor.numpy()
    return _DTYPES[dtype], value
