# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The policy behind Ray Serve: HTTP, one replica, its own batching."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from tests.bench.peers.session_steps import (
    MAX_BATCH,
    MAX_WAIT_SECONDS,
    SessionSteps,
    free_port,
    parse,
)


@serve.deployment(max_ongoing_requests=1024)
class ServedPolicy:
    def __init__(self, model: str) -> None:
        self._sessions = SessionSteps(Path(model))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_WAIT_SECONDS)
    async def step(self, requests: list[dict[str, Any]]) -> list[int]:
        return self._sessions.step(requests)

    async def __call__(self, request: Request) -> dict[str, int]:
        return {"action": await self.step(await request.json())}


def main() -> None:
    options = parse(__doc__)
    # Sent when the benchmark is over; until then it waits.
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    port = free_port()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(ServedPolicy.bind(str(options.model)), route_prefix="/predict")
    options.port_file.write_text(f"{port}\n")
    signal.sigwait(stop)
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
