# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The policy behind LitServe: HTTP, one worker, its own batching."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import litserve
from tests.bench.peers.session_steps import (
    MAX_BATCH,
    MAX_WAIT_SECONDS,
    SessionSteps,
    free_port,
    parse,
)


class PolicyApi(litserve.LitAPI):  # type: ignore[misc]
    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_SECONDS)
        self._model = model

    def setup(self, device: str) -> None:
        self._sessions = SessionSteps(self._model)

    # LitServe reads the body by the annotation, and JSON where there is none.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return inputs

    def predict(self, inputs: list[dict[str, Any]]) -> list[int]:
        return self._sessions.step(inputs)

    def unbatch(self, output: list[int]) -> list[int]:
        return output

    def encode_response(self, output: int) -> dict[str, int]:
        return {"action": output}


def write_port_when_ready(port: int, port_file: Path) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    port_file.write_text(f"{port}\n")


def end_with_all_processes() -> None:
    """Returns in a child. LitServe's workers do not end with it by themselves."""
    os.setpgrp()
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
        return
    signal.sigwait(stop)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    options = parse(__doc__)
    end_with_all_processes()
    port = free_port()
    threading.Thread(
        target=write_port_when_ready, args=(port, options.port_file), daemon=True
    ).start()
    server = litserve.LitServer(PolicyApi(options.model), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=port, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
