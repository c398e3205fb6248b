# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What one client's doings cost the steps of the others.

A closed loop of stepd-bench measures a daemon, in turns: beside a client that
does the harmless part, and beside one that does all of it. Prints p99 and steps
per second of both, and their ratios. A step that fails ends it with an error.

    by       harmless                   all of it
    push     nothing                    new weights, again and again
    rebuild  one step of a new session  a step of a session of 256 steps that has
                                        no cache
    reset    one step, then a reset of  one step, then a reset
             an actor without a session
    journal  nothing                    a daemon that keeps a journal in RocksDB
    synced-journal                      the same, synced before every answer
    learner  nothing                    a client that reads every finished step

    tools/bench_disturbance --by WHAT [--shape NAME | --model DIR]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import stepd
from checkpoint import random_checkpoint
from daemon import Daemon

LONG = 256  # steps of a session that is rebuilt


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stepd", type=Path, required=True)
    parser.add_argument("--stepd-bench", type=Path, required=True)
    parser.add_argument("--by", choices=DISTURBANCES, required=True)
    parser.add_argument("--shape", default="reference")
    parser.add_argument("--model", type=Path, help="instead of a shape")
    parser.add_argument("--actors", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pause", type=float, help="seconds between two doings")
    parser.add_argument("--kv-policy", default="pin")
    parser.add_argument("--out", type=Path, help="file for all figures")
    return parser.parse_args()


class Disturbance(ABC):
    """A client that does the same thing again and again until it is left."""

    pause = 0.05

    @staticmethod
    def flags(_folder: Path) -> tuple[str, ...]:
        """Of a second daemon, where all of it is that daemon's doing."""
        return ()

    def __init__(self, target: str, model: Path, pause: float | None) -> None:
        self.target = target
        self.model = model
        if pause is not None:
            self.pause = pause

    @abstractmethod
    def do(self, count: int, *, fully: bool) -> None:
        """Once, or only the harmless part of it. `count`: how often before."""

    def run(self, stop: threading.Event, *, fully: bool) -> list[float]:
        """Does it until `stop`; the seconds that each time took."""
        # This client is on no core of the server's, but for this measurement.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        seconds: list[float] = []
        while not stop.wait(self.pause):
            begin = time.monotonic()
            self.do(len(seconds), fully=fully)
            seconds.append(time.monotonic() - begin)
        return seconds


class Push(Disturbance):
    pause = 1.0

    def __init__(self, target: str, model: Path, pause: float | None) -> None:
        super().__init__(target, model, pause)
        weights = load_file(model / "model.safetensors")
        self._pushed = [
            {name: w * np.float32(scale) for name, w in weights.items()}
            for scale in (0.999, 1.001)
        ]
        self._client = stepd.connect_model(target)

    def do(self, count: int, *, fully: bool) -> None:
        if not fully:
            return
        self._client.push_weights(self._pushed[count % 2])


class OfASession(Disturbance):
    """By the steps of one actor, whose inputs are zeros."""

    def __init__(self, target: str, model: Path, pause: float | None) -> None:
        super().__init__(target, model, pause)
        self.client = stepd.connect(target, timeout=60)
        self.session = self.client.session("disturbance")
        fields = self.client.describe().fields
        self.inputs = {f.name: np.zeros(f.shape, f.dtype) for f in fields if f.required}


class Rebuild(OfASession):
    def __init__(self, target: str, model: Path, pause: float | None) -> None:
        super().__init__(target, model, pause)
        long = {name: np.stack([x] * LONG) for name, x in self.inputs.items()}
        self.session.steps(long)
        self._exported = self.client.sessions.export("disturbance")
        self.session.reset()

    def do(self, count: int, *, fully: bool) -> None:
        actor = f"disturbance {count}"
        if fully:
            self.client.sessions.load(self._exported, actor)
        inputs = {name: x[np.newaxis] for name, x in self.inputs.items()}
        self.client.step_batch([actor], inputs)
        self.client.sessions.close(actor)


class Reset(OfASession):
    pause = 0.01

    def do(self, count: int, *, fully: bool) -> None:
        self.session.step(self.inputs)
        if fully:
            self.session.reset()
        else:
            self.client.reset("nobody")


class Journal(Disturbance):
    @staticmethod
    def flags(folder: Path) -> tuple[str, ...]:
        path = str(folder / "journal")
        return ("--journal.kind", "rocksdb", "--journal.path", path)

    def do(self, count: int, *, fully: bool) -> None:
        pass


class SyncedJournal(Journal):
    @staticmethod
    def flags(folder: Path) -> tuple[str, ...]:
        return (*Journal.flags(folder), "--journal.sync", "always")


class Learner(Disturbance):
    pause = 0.0
    SECONDS = 0.5

    @staticmethod
    def flags(_folder: Path) -> tuple[str, ...]:
        # Of a daemon of its own: a buffer goes on without readers.
        return ("--trajectories.readers", "allow")

    def __init__(self, target: str, model: Path, pause: float | None) -> None:
        super().__init__(target, model, pause)
        self._client = stepd.connect(target)

    def do(self, count: int, *, fully: bool) -> None:
        if not fully:
            time.sleep(self.SECONDS)
            return
        reader = self._client.trajectories()
        end = threading.Timer(self.SECONDS, reader.close)
        end.start()
        for _ in reader:
            pass
        end.join()


DISTURBANCES: Mapping[str, type[Disturbance]] = {
    "push": Push,
    "rebuild": Rebuild,
    "reset": Reset,
    "journal": Journal,
    "synced-journal": SyncedJournal,
    "learner": Learner,
}


@dataclass
class Load:
    """What a closed loop measured."""

    p99_ms: float
    steps_per_second: float


class Bench:
    """Closed loops of stepd-bench against one daemon."""

    def __init__(self, options: argparse.Namespace, target: str, folder: Path) -> None:
        self._options = options
        self._target = target
        self._out = folder / "figures.json"
        kind = DISTURBANCES[options.by]
        self._disturbance = kind(target, options.model, options.pause)

    def beside(self, *, fully: bool) -> tuple[Load, list[float]]:
        """A loop, and the seconds of everything that was done meanwhile."""
        stop = threading.Event()
        done: list[list[float]] = []

        def run() -> None:
            done.append(self._disturbance.run(stop, fully=fully))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            load = self.measure()
        finally:
            stop.set()
            thread.join()
        if not done:
            raise SystemExit("the disturbance failed")
        return load, done[0]

    def measure(self) -> Load:
        options = self._options
        subprocess.run(
            [
                *(options.stepd_bench, "--target", self._target, "--mode", "stream"),
                *("--model", options.model, "--raw-seconds", "0.1", "--rounds", "1"),
                *("--actors", str(options.actors), "--seconds", str(options.seconds)),
                *("--episode", "32", "--out", self._out),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (case,) = json.loads(self._out.read_text())["cases"]
        return Load(case["median"]["p99_ms"], case["median"]["steps_per_second"])


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if options.model is None:
        options.model = random_checkpoint(options.stepd_bench, options.shape, folder)
    flags = ("--sessions.kv_policy", options.kv_policy, "--limits.max_versions", "64")
    further = DISTURBANCES[options.by].flags(folder)
    harmless: list[Load] = []
    disturbed: list[Load] = []
    seconds: list[float] = []
    with ExitStack() as stack:

        def start(*further: str) -> Bench:
            daemon = Daemon(options.stepd, options.model, *flags, *further)
            stack.enter_context(daemon)
            bench = Bench(options, daemon.wait_ready().target, folder)
            bench.measure()  # warms up
            return bench

        one = start()
        other = start(*further) if further else one
        for _ in range(options.rounds):
            harmless.append(one.beside(fully=False)[0])
            load, each = other.beside(fully=True)
            disturbed.append(load)
            seconds += each
    return {
        "by": options.by,
        "actors": options.actors,
        "times": len(seconds),
        "seconds_each": statistics.median(seconds),
        "harmless": [asdict(load) for load in harmless],
        "disturbed": [asdict(load) for load in disturbed],
    }


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(options, Path(folder))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"beside {options.by}, {options.actors} actors, medians of {options.rounds}")
    for name in ("p99_ms", "steps_per_second"):
        before, during = (
            statistics.median(load[name] for load in figures[kind])
            for kind in ("harmless", "disturbed")
        )
        print(f"{name:<18} {before:10.2f} {during:10.2f}  ratio {during / before:.2f}")
    each = 1000 * figures["seconds_each"]
    print(f"done {figures['times']} times, {each:.1f} ms each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
