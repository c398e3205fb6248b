# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""When and how often a call is tried again.

Thread safety: plain values and functions.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from stepd.errors import StepdError

# What gRPC makes of a connection that broke in the middle of a call.
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter, within the call's timeout.

    The n-th wait is random between 0 and first * 2**n seconds, at most
    `longest`, after what the server asks for.
    """

    first: float = 0.05
    longest: float = 2.0

    def waits(self) -> Iterator[float]:
        """Seconds to wait after each attempt that failed, without end."""
        bound = self.first
        while True:
            yield random.uniform(0.0, bound)
            bound = min(2.0 * bound, self.longest)


DEFAULT_RETRY = Retry()


def is_lost(error: StepdError) -> bool:
    """Whether nobody answered: the call may have run, or not."""
    if error.code == grpc.StatusCode.UNAVAILABLE:
        return True
    return error.reason == "" and error.code in _BROKEN
