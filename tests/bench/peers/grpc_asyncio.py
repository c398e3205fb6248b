# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The server that stepd replaces: grpc.aio, an asyncio batcher, plain torch.

Speaks as much of stepd's protocol as `stepd-bench` needs (Step, StepStream,
Reset, Describe), so that one client measures both. The batcher holds a step
until every session in play has sent one, or for five milliseconds; the forward
runs on a thread beside the event loop.

Takes the flags with which `stepd-bench` starts a stepd, and ignores those that
mean nothing here.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from tests.bench.peers.torch_policy import StaticCachePolicy

from stepd.v1 import policy_service_pb2 as pb

MAX_WAIT_SECONDS = 0.005
NUM_SLOTS = 1024
MAX_STEPS = 256
DTYPES = {pb.DATA_TYPE_INT64: np.int64, pb.DATA_TYPE_FLOAT32: np.float32}


@dataclass
class Waiting:
    slot: int
    fields: dict[str, NDArray[np.generic]]
    answer: asyncio.Future[tuple[int, int]]  # action, step index


def num_steps(request: pb.StepRequest) -> int:
    return int(request.inputs[0].shape[0])


def fields_of(request: pb.StepRequest) -> dict[str, NDArray[np.generic]]:
    return {
        tensor.name: np.frombuffer(tensor.data, DTYPES[tensor.dtype]).reshape(
            tensor.shape
        )
        for tensor in request.inputs
    }


class Batcher:
    """Merges the steps of sessions; belongs to one event loop."""

    def __init__(self, policy: StaticCachePolicy) -> None:
        self._policy = policy
        self._free = list(range(NUM_SLOTS))
        self._slots: dict[str, int] = {}
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)

    def reset(self, actor: str) -> None:
        slot = self._slots.pop(actor, None)
        if slot is not None:
            self._policy.clear(slot)
            self._free.append(slot)

    def _slot_of(self, actor: str) -> int:
        slot = self._slots.get(actor)
        if slot is None:
            slot = self._slots[actor] = self._free.pop()
        return slot

    async def replay(self, request: pb.StepRequest) -> tuple[int, int]:
        """The steps of a session that is taken up in the middle, one by one."""
        slot, fields = self._slot_of(request.actor_id), fields_of(request)

        def run() -> int:
            for row in range(num_steps(request)):
                one = {name: field[row : row + 1] for name, field in fields.items()}
                action = int(self._policy.step([slot], one)[0])
            return action

        action = await asyncio.get_running_loop().run_in_executor(self._thread, run)
        return action, int(self._policy.lengths[slot])

    def submit(self, request: pb.StepRequest) -> asyncio.Future[tuple[int, int]]:
        slot, fields = self._slot_of(request.actor_id), fields_of(request)
        answer: asyncio.Future[tuple[int, int]]
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(slot, fields, answer))
        self._wake.set()
        return answer

    async def _take(self) -> list[Waiting]:
        loop = asyncio.get_running_loop()
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        end = loop.time() + MAX_WAIT_SECONDS
        while len(self._waiting) < len(self._slots) and loop.time() < end:
            self._wake.clear()
            timer = loop.call_at(end, self._wake.set)
            await self._wake.wait()
            timer.cancel()
        batch, self._waiting = self._waiting, []
        return batch

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._take()
            slots = [waiting.slot for waiting in batch]
            fields = {
                name: np.concatenate([waiting.fields[name] for waiting in batch])
                for name in batch[0].fields
            }
            actions = await loop.run_in_executor(
                self._thread, self._policy.step, slots, fields
            )
            lengths = self._policy.lengths[slots]
            for waiting, action, length in zip(batch, actions, lengths, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result((int(action), int(length)))


class Servicer:
    def __init__(
        self, policy: StaticCachePolicy, batcher: Batcher, most_together: int
    ) -> None:
        self._policy = policy
        self._batcher = batcher
        self._most_together = most_together

    def handlers(self) -> grpc.GenericRpcHandler:
        unary = {
            "Step": (self.Step, pb.StepRequest, pb.StepResponse),
            "Reset": (self.Reset, pb.ResetRequest, pb.ResetResponse),
            "Describe": (self.Describe, pb.DescribeRequest, pb.DescribeResponse),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                method, request.FromString, response.SerializeToString
            )
            for name, (method, request, response) in unary.items()
        }
        methods["StepStream"] = grpc.stream_stream_rpc_method_handler(
            self.StepStream,
            pb.StepStreamRequest.FromString,
            pb.StepStreamResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("stepd.v1.PolicyService", methods)

    async def Step(
        self, request: pb.StepRequest, context: grpc.aio.ServicerContext
    ) -> pb.StepResponse:
        if num_steps(request) > 1:
            action, index = await self._batcher.replay(request)
        else:
            action, index = await self._batcher.submit(request)
        return pb.StepResponse(actions=[action], log_probs=[0.0], step_index=index)

    async def Reset(
        self, request: pb.ResetRequest, context: grpc.aio.ServicerContext
    ) -> pb.ResetResponse:
        self._batcher.reset(request.actor_id)
        return pb.ResetResponse()

    async def StepStream(
        self,
        requests: AsyncIterator[pb.StepStreamRequest],
        context: grpc.aio.ServicerContext,
    ) -> None:
        answers: asyncio.Queue[pb.StepStreamResponse] = asyncio.Queue()

        async def write() -> None:
            while True:
                ready = [await answers.get()]
                while len(ready) < self._most_together and not answers.empty():
                    ready.append(answers.get_nowait())
                several = pb.StepStreamResponses(responses=ready)
                await context.write(
                    ready[0]
                    if len(ready) == 1
                    else pb.StepStreamResponse(several=several)
                )

        def answer_step(
            request_id: int, answer: asyncio.Future[tuple[int, int]]
        ) -> None:
            action, index = answer.result()
            step = pb.StepResponse(actions=[action], log_probs=[0.0], step_index=index)
            answers.put_nowait(pb.StepStreamResponse(request_id=request_id, step=step))

        def answer(request: pb.StepStreamRequest) -> None:
            if request.HasField("reset"):
                self._batcher.reset(request.reset.actor_id)
                answers.put_nowait(
                    pb.StepStreamResponse(
                        request_id=request.request_id, reset=pb.ResetResponse()
                    )
                )
                return
            self._batcher.submit(request.step).add_done_callback(
                lambda answer, id=request.request_id: answer_step(id, answer)
            )

        writer = asyncio.create_task(write())
        try:
            async for request in requests:
                if request.HasField("several"):
                    for one in request.several.requests:
                        answer(one)
                else:
                    answer(request)
        finally:
            writer.cancel()

    async def Describe(
        self, request: pb.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> pb.DescribeResponse:
        int64, float32 = pb.DATA_TYPE_INT64, pb.DATA_TYPE_FLOAT32
        num_actions = self._policy.num_actions
        return pb.DescribeResponse(
            summary="plain torch behind grpc.aio",
            fields=[
                pb.Field(
                    name="action",
                    dtype=int64,
                    min=0,
                    max=num_actions - 1,
                    required=True,
                ),
                pb.Field(
                    name="obs_continuous",
                    dtype=float32,
                    shape=[self._policy.num_observations],
                    required=True,
                ),
                pb.Field(name="reward", dtype=float32, required=True),
                pb.Field(name="done", dtype=int64, min=0, max=2, required=True),
            ],
            num_actions=num_actions,
            limits=pb.Limits(
                max_actors_per_batch=self._most_together, max_steps_per_call=1
            ),
            server_version="grpc.aio " + grpc.__version__,
        )


async def serve(model: Path, port_file: Path, most_together: int) -> None:
    policy = StaticCachePolicy(model, NUM_SLOTS, MAX_STEPS)
    batcher = Batcher(policy)
    server = grpc.aio.server()
    servicer = Servicer(policy, batcher, most_together)
    server.add_generic_rpc_handlers([servicer.handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(batcher.run())
    port_file.write_text(f"{port}\n")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    running.cancel()
    await server.stop(grace=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument(
        "--server.port_file", dest="port_file", type=Path, required=True
    )
    parser.add_argument(
        "--most-together",
        type=int,
        default=1,
        help="requests and answers in one message of a stream",
    )
    options, _ = parser.parse_known_args()
    asyncio.run(serve(options.model, options.port_file, options.most_together))


if __name__ == "__main__":
    main()
