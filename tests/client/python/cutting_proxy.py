# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that cuts its connections, in the middle of whatever they carry."""

import random
import socket
import threading
from types import TracebackType


class CuttingProxy:
    """Forwards to `backend` ("host:port"), which may change; a context manager.

    cut_after  how many bytes a connection may carry, both ways together, at
               least and at most: then it is cut; None: it is left alone
    """

    def __init__(
        self,
        backend: str,
        cut_after: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.backend = backend
        self.cut_after = cut_after
        self.num_cuts = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "CuttingProxy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Cuts every connection."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            _close(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            host, port = self.backend.rsplit(":", 1)
            try:
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            self._connect(client, server)

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._open |= {client, server}
            left = [self._random.randint(*self.cut_after)] if self.cut_after else []
        for source, sink in ((client, server), (server, client)):
            threading.Thread(
                target=self._forward, args=(source, sink, left), daemon=True
            ).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, left: list[int]
    ) -> None:
        try:
            while data := source.recv(4096):
                if left:
                    with self._lock:
                        allowed, left[0] = left[0], left[0] - len(data)
                    sink.sendall(data[: max(allowed, 0)])
                    if allowed <= len(data):
                        break
                else:
                    sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            self.num_cuts += 1 if source in self._open else 0
            self._open -= {source, sink}
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
