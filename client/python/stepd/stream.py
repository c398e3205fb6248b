# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of many actors, pipelined on one stream.

A call costs a Python program more than the network does; a stream costs it
once. Requests of different actors run concurrently and their futures finish in
the order in which the server is ready; those of one actor keep their order.

Thread safety: a StepStream may be shared by threads.
"""

import functools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeAlias, Unpack

import grpc

from stepd import codec, results
from stepd.codec import Codec, Inputs
from stepd.errors import Cancelled, StepdError, from_rpc_error, from_status
from stepd.options import BatchOptions, StepOptions, batch_options, step_options
from stepd.results import BatchResult, StepResult
from stepd.session import Session
from stepd.v1 import policy_service_pb2 as pb

# Field numbers and wire types (protobuf's "tag" bytes) of StepStreamRequest.
_REQUEST_ID = b"\x08"  # 1, varint
_STEP = b"\x12"  # 2, bytes
_STEP_BATCH = b"\x1a"  # 3, bytes
_RESET = b"\x22"  # 4, bytes

# Threads that wait for calls once a stream is broken.
_NUM_RESCUERS = 16

# A future, and what makes its result of the response.
_Waiting: TypeAlias = tuple[Future[Any], Callable[[pb.StepStreamResponse], Any]]


class StepStream:
    """Made by Client.stream(). A context manager: leaving it waits for answers.

    Every method returns at once. A request that fails gives its future the
    StepdError and leaves the stream open; when the stream itself breaks, every
    unfinished future gets the error. Futures cannot be cancelled.

    Steps of a Session, one at a time each, survive all that: what nobody
    answered, or the server has lost, goes on as calls, as Session.step() does.
    """

    def __init__(
        self, method: Callable[..., Any], codec: Codec, timeout: float | None
    ) -> None:
        self._codec = codec
        self._timeout = timeout
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._waiting: dict[int, _Waiting] = {}
        self._next_id = 1
        self._ended: StepdError | None = None

        self._call = method(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._rescuers = ThreadPoolExecutor(_NUM_RESCUERS)  # starts none yet

    def __enter__(self) -> "StepStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._call.cancel()
        self.close()

    def step(
        self,
        actor: str | Session,
        inputs: Inputs,
        **keywords: Unpack[StepOptions],
    ) -> Future[StepResult]:
        """Session.step(), later. Wrong inputs raise here, not in the future."""
        options = step_options(**keywords)
        if isinstance(actor, Session):
            head, tail = actor._head, options.tail + actor._order()
        else:
            head, tail = codec.step_head(actor), options.tail
        request = self._codec.step(head, inputs, tail, options.session_inputs)
        if isinstance(actor, Session):
            return self._step_session(actor, request, options.ephemeral)
        return self._send(_STEP, request, lambda r: results.step_result(r.step))

    def step_batch(
        self,
        actor_ids: Sequence[str],
        inputs: Inputs,
        **keywords: Unpack[BatchOptions],
    ) -> Future[BatchResult]:
        """Client.step_batch() of actor IDs, later."""
        options = batch_options(len(actor_ids), **keywords)
        request = self._codec.batch(
            actor_ids, inputs, options.tail, options.session_inputs
        )
        return self._send(
            _STEP_BATCH, request, lambda r: results.batch_result(r.step_batch)
        )

    def reset(self, actor_id: str) -> Future[None]:
        """Client.reset(), later: after the actor's steps sent before it."""
        request = pb.ResetRequest(actor_id=actor_id).SerializeToString()
        return self._send(_RESET, request, lambda r: None)

    def close(self) -> None:
        """Sends no more, waits for the answers still due, ends the stream.

        Waits as long as the client's timeout; then the rest is cancelled.
        """
        self._requests.put(None)
        self._reader.join(self._timeout)
        if self._reader.is_alive():
            self._call.cancel()
            self._reader.join()
        self._rescuers.shutdown()

    def _step_session(
        self, session: Session, request: bytes, ephemeral: bool
    ) -> Future[StepResult]:
        session._claim()
        answer: Future[StepResult] = Future()
        answer.set_running_or_notify_cancel()

        def end(reply: Callable[[], pb.StepResponse]) -> None:
            try:
                result = session._take(reply(), request, ephemeral)
            except Exception as error:
                session._release()
                answer.set_exception(error)
            else:
                session._release()
                answer.set_result(result)

        def on_done(future: Future[pb.StepResponse]) -> None:
            if session._may_go_on(future.exception()):
                deadline = session._client._deadline(None)
                again = functools.partial(session._exchange, request, deadline)
                self._rescuers.submit(end, again)
            else:
                end(future.result)

        try:
            sent = self._send(_STEP, request, lambda r: r.step)
        except StepdError as error:  # The stream has ended.
            sent = Future()
            sent.set_exception(error)
        sent.add_done_callback(on_done)
        return answer

    def _send(
        self,
        tag: bytes,
        request: bytes,
        decode: Callable[[pb.StepStreamResponse], Any],
    ) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            request_id = self._next_id
            self._next_id += 1
            self._waiting[request_id] = (future, decode)
            # Within the lock, so that one actor's requests of one thread after
            # another leave in the order of their IDs.
            self._requests.put(
                b"".join(
                    (
                        _REQUEST_ID,
                        codec.varint(request_id),
                        tag,
                        codec.varint(len(request)),
                        request,
                    )
                )
            )
        return future

    def _read(self) -> None:
        """The reader thread: finishes futures until the stream ends."""
        error: StepdError = Cancelled(
            grpc.StatusCode.CANCELLED, "", "the stream is closed"
        )
        try:
            for response in self._call:
                self._finish(response)
        except grpc.RpcError as rpc_error:
            error = from_rpc_error(rpc_error)
        with self._lock:
            self._ended = error
            unanswered = list(self._waiting.values())
            self._waiting.clear()
        self._requests.put(None)  # Frees gRPC's thread that waits for requests.
        for future, _ in unanswered:
            future.set_exception(error)

    def _finish(self, response: pb.StepStreamResponse) -> None:
        with self._lock:
            future, decode = self._waiting.pop(response.request_id)
        if response.HasField("error"):
            future.set_exception(from_status(response.error))
            return
        try:
            future.set_result(decode(response))
        except Exception as error:  # A reply this client cannot read.
            future.set_exception(error)
