# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the client's tests: a fake service and a client of it."""

from collections.abc import Iterator

import pytest

import stepd
from fake_service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A fake service; `target` says where it listens."""
    fake = FakeService()
    server, port = fake.start()
    fake.target = f"127.0.0.1:{port}"
    yield fake
    fake.hold.set()
    server.stop(grace=None).wait()


@pytest.fixture
def client(service: FakeService) -> Iterator[stepd.Client]:
    # Errors are told at once: retry_test.py is about trying again.
    with stepd.connect(service.target, retry=None) as connected:
        yield connected


@pytest.fixture
def actor(request: pytest.FixtureRequest) -> str:
    """An actor that no other test plays."""
    return str(request.node.name)[:200]
