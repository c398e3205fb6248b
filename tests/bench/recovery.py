# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""How soon the sessions of a daemon that was killed answer again.

A daemon with a journal in RocksDB takes some steps of every actor, is killed
(SIGKILL) and started again. Measured is the time from when it is ready until
every actor has the answer to its next step, for which its session is read from
the journal and computed again.

    tools/bench_recovery [--shape NAME | --model DIR] [--actors N] [--steps N,N]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import stepd
from checkpoint import random_checkpoint
from daemon import Daemon

ROWS = 50  # of a StepBatch


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stepd", type=Path, required=True)
    parser.add_argument("--stepd-bench", type=Path, required=True)
    parser.add_argument("--shape", default="reference")
    parser.add_argument("--model", type=Path, help="instead of a shape")
    parser.add_argument("--actors", type=int, default=1000)
    parser.add_argument("--steps", default="1,16,32,64", help="of each session")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for all figures")
    return parser.parse_args()


class Actors:
    """Steps of many actors on one stream; their inputs are zeros."""

    def __init__(self, target: str, num_actors: int) -> None:
        names = [f"actor-{i}" for i in range(num_actors)]
        self._groups = [names[i : i + ROWS] for i in range(0, num_actors, ROWS)]
        self._client = stepd.connect(target, timeout=60)
        fields = [f for f in self._client.describe().fields if f.required]
        self._inputs = {f.name: np.zeros((ROWS, *f.shape), f.dtype) for f in fields}

    def step(self) -> Iterator[str]:
        """One step of each; where the sessions came from."""
        with self._client.stream() as stream:
            answers = [
                stream.step_batch(
                    group, {name: x[: len(group)] for name, x in self._inputs.items()}
                )
                for group in self._groups
            ]
            results = [answer.result() for answer in answers]
        for result in results:
            if result.errors:
                raise SystemExit(f"a step failed: {result.errors}")
            yield from result.served_from


def measure(options: argparse.Namespace, num_steps: int) -> float:
    """Seconds from ready until every session has answered."""
    with tempfile.TemporaryDirectory() as folder:
        journal = ("--journal.kind", "rocksdb", "--journal.path", f"{folder}/journal")
        with Daemon(options.stepd, options.model, *journal) as daemon:
            actors = Actors(daemon.wait_ready().target, options.actors)
            for _ in range(num_steps):
                list(actors.step())
            daemon.process.kill()
            daemon.wait()
        with Daemon(options.stepd, options.model, *journal) as daemon:
            actors = Actors(daemon.wait_ready().target, options.actors)
            begin = time.monotonic()
            served_from = set(actors.step())
            seconds = time.monotonic() - begin
    if served_from != {"journal"}:
        raise SystemExit(f"sessions were served from {served_from}")
    return seconds


def main() -> int:
    options = parse()
    lengths = [int(n) for n in options.steps.split(",")]
    seconds: dict[int, list[float]] = {n: [] for n in lengths}
    with tempfile.TemporaryDirectory() as folder:
        if options.model is None:
            options.model = random_checkpoint(
                options.stepd_bench, options.shape, Path(folder)
            )
        for _ in range(options.rounds):
            for num_steps in lengths:
                seconds[num_steps].append(measure(options, num_steps))
    if options.out:
        figures = {"actors": options.actors, "shape": options.shape, "seconds": seconds}
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{options.actors} sessions after a kill, medians of {options.rounds}")
    for num_steps, each in seconds.items():
        print(f"{num_steps:>5} steps each {statistics.median(each):8.2f} s after ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
