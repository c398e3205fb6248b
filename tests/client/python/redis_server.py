# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A real redis-server as a child process, and a slow way to it, for tests."""

import contextlib
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path


class RedisServer:
    """Listens on a socket in a folder of its own; every write is kept."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stepd-redis-")
        self.socket = Path(self._folder.name) / "redis.sock"
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", "0", "--save", ""),
                *("--unixsocket", self.socket, "--dir", self._folder.name),
                *("--appendonly", "yes", "--appendfsync", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "eady to accept connections" in line:
                break
        # What it prints later has to go somewhere.
        self._output = threading.Thread(
            target=self._process.stdout.read, name="redis-output", daemon=True
        )
        self._output.start()

    def stop(self) -> None:
        """Returns when it is gone; nothing was told to it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        self._output.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def pause(self) -> None:
        """It takes connections and bytes and does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def unpause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def run(self, *words: str) -> str:
        """What redis-cli prints for a command."""
        return subprocess.run(
            ["redis-cli", "-s", self.socket, *words],
            capture_output=True,
            check=True,
            text=True,
        ).stdout

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


class SlowWay:
    """Listens on a socket and passes everything on after `delay` seconds."""

    def __init__(self, server: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stepd-slow-")
        self._path = Path(self._folder.name) / "slow.sock"
        self._server = server
        self.delay = 0.0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen()
        self._sockets = [self._listening]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"unix:{self._path}"

    def close(self) -> None:
        """What is on the way still gets its time, and has nowhere to go."""
        for each in list(self._sockets):
            # Wakes the thread that waits for it.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for each in self._sockets:
            each.close()
        self._folder.cleanup()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name="slow-way", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # Closed.
            server = socket.socket(socket.AF_UNIX)
            self._sockets += [client, server]
            try:
                server.connect(str(self._server))
            except OSError:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                continue
            self._pass_on(client, server)
            self._pass_on(server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        on_the_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def receive() -> None:
            received = b"."
            while received:
                try:
                    received = source.recv(65536)
                except OSError:
                    received = b""
                on_the_way.put((time.monotonic() + self.delay, received))

        def send() -> None:
            while True:
                due, received = on_the_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not received:
                        target.shutdown(socket.SHUT_RDWR)
                        return
                    target.sendall(received)
                except OSError:
                    return

        for part in (receive, send):
            self._start(part)
