# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for what will happen, where nothing tells when it does."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Returns when the condition holds; fails if it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.01)
