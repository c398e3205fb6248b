# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What a step costs the process of the Python client.

The CPU time of this process, all threads of gRPC's included, per step: of single
steps, of batches and of batches on a stream; and of batches that a program packs
itself with the generated classes, without numbers of steps, logs or errors per row.
The daemon is another process and does not count.

    tools/bench_client [--shape NAME | --model DIR]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np

import stepd
from checkpoint import random_checkpoint
from daemon import Daemon
from stepd.v1 import policy_service_pb2 as pb

SIZES = (1, 32, 256)  # actors
DTYPES = {
    "float32": pb.DATA_TYPE_FLOAT32,
    "int64": pb.DATA_TYPE_INT64,
    "bool": pb.DATA_TYPE_BOOL,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stepd", type=Path, required=True)
    parser.add_argument("--stepd-bench", type=Path, required=True)
    parser.add_argument("--shape", default="tiny")
    parser.add_argument("--model", type=Path, help="instead of a shape")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--out", type=Path, help="file for all figures")
    return parser.parse_args()


class Case:
    """One step of each of N actors, in every way there is."""

    def __init__(self, client: stepd.Client, target: str, size: int) -> None:
        self._client = client
        self._stream = client.stream()
        self._actors = [f"{size}-{i}" for i in range(size)]
        self._sessions = [client.session(f"session {a}") for a in self._actors]
        fields = [field for field in client.describe().fields if field.required]
        self._inputs = {f.name: np.zeros((size, *f.shape), f.dtype) for f in fields}
        self._single = {f.name: np.zeros(f.shape, f.dtype) for f in fields}
        self._by_hand = grpc.insecure_channel(target).unary_unary(
            "/stepd.v1.PolicyService/StepBatch",
            request_serializer=pb.StepBatchRequest.SerializeToString,
            response_deserializer=pb.StepBatchResponse.FromString,
        )

    def step(self) -> None:
        for session in self._sessions:
            session.step(self._single)

    def step_batch(self) -> None:
        self._client.step_batch(self._sessions, self._inputs).raise_errors()

    def stream_step_batch(self) -> None:
        self._stream.step_batch(self._actors, self._inputs).result().raise_errors()

    def by_hand(self) -> None:
        request = pb.StepBatchRequest(actor_ids=self._actors)
        for name, column in self._inputs.items():
            request.inputs.add(
                name=name,
                dtype=DTYPES[column.dtype.name],
                shape=column.shape,
                data=column.tobytes(),
            )
        response = self._by_hand(request)
        [int(action) for action in response.actions]

    def ways(self) -> dict[str, Callable[[], None]]:
        ours = {
            "Client.step_batch()": self.step_batch,
            "StepStream.step_batch()": self.stream_step_batch,
        }
        if len(self._actors) == 1:
            ours = {"Session.step()": self.step}
        return {**ours, "generated classes by hand": self.by_hand}


def cost(do: Callable[[], None], num_calls: int, num_steps: int) -> float:
    """CPU microseconds per step."""
    begin = time.process_time()
    for _ in range(num_calls):
        do()
    return (time.process_time() - begin) * 1e6 / (num_calls * num_steps)


def measure(options: argparse.Namespace, target: str) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {}
    with stepd.connect(target, timeout=60) as client:
        cases = {size: Case(client, target, size) for size in SIZES}
        for round_ in range(-1, options.rounds):  # the first one warms up
            for size, case in cases.items():
                for name, do in case.ways().items():
                    each = cost(do, options.calls, size)
                    if round_ >= 0:
                        costs.setdefault(f"{name}, {size} actors", []).append(each)
    return costs


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or random_checkpoint(
            options.stepd_bench, options.shape, Path(folder)
        )
        # Sessions only grow here.
        context = ("--sessions.context_policy", "rebuild", "--sessions.max_steps", "64")
        with Daemon(options.stepd, model, *context) as daemon:
            costs = measure(options, daemon.wait_ready().target)
    if options.out:
        options.out.write_text(json.dumps(costs, indent=1) + "\n")
    print(f"CPU µs of the client per step, medians of {options.rounds}")
    for name, each in costs.items():
        print(f"{name:<42} {statistics.median(each):8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
