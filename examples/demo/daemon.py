# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""`stepd serve` as a child process, for the demo and for tests."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


class DaemonFailed(Exception):
    """The daemon ended, or was not ready in time. Says what it logged."""

    def __init__(self, what: str, exit_code: int | None, log: str) -> None:
        super().__init__(f"{what}\n{log}")
        self.exit_code = exit_code
        self.log = log


class Daemon:
    """Serves `model`; a context manager.

    binary   the stepd executable
    model    a checkpoint directory
    flags    more arguments of `stepd serve`
    address  where to listen; a free port unless said
    """

    def __init__(
        self, binary: Path, model: Path, *flags: str, address: str = "127.0.0.1:0"
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stepd-")
        folder = Path(self._folder.name)
        self._port_file = folder / "port"
        self._metrics_port_file = folder / "metrics_port"
        self._log_file = folder / "log"
        # Settings of whoever runs this are not the daemon's.
        environment = {k: v for k, v in os.environ.items() if k[:6] != "STEPD_"}
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(binary, "serve", "--model", model),
                    *("--server.address", address),
                    *("--server.port_file", self._port_file),
                    *("--server.metrics_address", "127.0.0.1:0"),
                    *("--server.metrics_port_file", self._metrics_port_file),
                    *flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_ready(
        self, timeout: float = 60.0, credentials: grpc.ChannelCredentials | None = None
    ) -> "Daemon":
        """Waits until health says SERVING. Raises DaemonFailed."""
        deadline = time.monotonic() + timeout
        self._read_port(self._port_file, deadline)
        if credentials is None:
            channel = grpc.insecure_channel(self.target)
        else:
            options = [("grpc.ssl_target_name_override", "localhost")]
            channel = grpc.secure_channel(self.target, credentials, options)
        with channel:
            updates = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(),
                timeout=max(0.0, deadline - time.monotonic()),
                wait_for_ready=True,
            )
            try:
                for update in updates:
                    if update.status == health_pb2.HealthCheckResponse.SERVING:
                        return self
            except grpc.RpcError as error:
                raise self._failed(f"the daemon is not healthy: {error}") from error
        raise self._failed("the daemon ended its health stream")

    @property
    def target(self) -> str:
        """Where gRPC listens, once it does."""
        return f"127.0.0.1:{self._port_file.read_text().strip()}"

    @property
    def metrics_url(self) -> str:
        """Where /metrics, /healthz and /readyz are, once the daemon is ready."""
        deadline = time.monotonic() + 10
        return f"http://127.0.0.1:{self._read_port(self._metrics_port_file, deadline)}"

    @property
    def log(self) -> str:
        """What the daemon printed."""
        return self._log_file.read_text(errors="replace")

    def stop(self, timeout: float = 60.0) -> int:
        """Asks the daemon to drain and end; its exit code. Raises DaemonFailed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Waits for the daemon to end by itself. Raises DaemonFailed."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failed(f"the daemon runs on after {timeout} s") from None

    def close(self) -> None:
        """Ends the daemon, by force if need be, and removes its files."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._folder.cleanup()

    def _read_port(self, file: Path, deadline: float) -> int:
        """The port in `file`, once the daemon has written it."""
        while True:
            try:
                text = file.read_text()
                if text.endswith("\n"):
                    return int(text)
            except FileNotFoundError:
                pass
            try:
                self.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                raise self._failed("the daemon does not listen in time") from None
            raise self._failed(f"the daemon ended with {self.process.returncode}")

    def _failed(self, what: str) -> DaemonFailed:
        return DaemonFailed(what, self.process.poll(), self.log)
