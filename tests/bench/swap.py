# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What putting new weights into service costs the steps meanwhile.

A closed loop of stepd-bench measures a daemon, in turns: left alone, and while
the same weights, a little changed each time, are pushed again and again. Prints
the p99 of both, and their ratio. A step that fails ends it with an error.

    tools/bench_swap [--model DIR] [--actors N] [--rounds N] [--pause SECONDS]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import stepd
from daemon import Daemon

ROOT = Path(__file__).parents[2]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stepd", type=Path, required=True)
    parser.add_argument("--stepd-bench", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, default=ROOT / "examples/cartpole/checkpoint"
    )
    parser.add_argument("--actors", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=1.0, help="between two pushes")
    parser.add_argument("--kv-policy", default="pin")
    return parser.parse_args()


def measure(options: argparse.Namespace, daemon: Daemon, out: Path) -> float:
    """The p99 of a closed loop, in milliseconds."""
    subprocess.run(
        [
            *(options.stepd_bench, "--target", daemon.target, "--mode", "stream"),
            *("--model", options.model, "--raw-seconds", "0.1", "--rounds", "1"),
            *("--actors", str(options.actors), "--seconds", str(options.seconds)),
            *("--episode", "32", "--out", out),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    figures = json.loads(out.read_text())
    return float(find(figures, "p99_ms"))


def find(figures: object, name: str) -> float:
    """The first number of this name, wherever it stands."""
    pending = [figures]
    while pending:
        item = pending.pop(0)
        if isinstance(item, dict):
            if isinstance(item.get(name), (int, float)):
                return float(item[name])
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    raise KeyError(name)


class Pusher:
    """Pushes changed weights until it is left."""

    def __init__(self, options: argparse.Namespace, target: str) -> None:
        self._weights = load_file(options.model / "model.safetensors")
        self._pause = options.pause
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds: list[float] = []

    def __enter__(self) -> "Pusher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with stepd.connect_model(self._target) as model:
            while not self._stop.wait(self._pause):
                scale = np.float32(1 + 0.001 * (len(self.seconds) % 7))
                changed = {name: w * scale for name, w in self._weights.items()}
                begin = time.monotonic()
                model.push_weights(changed)
                self.seconds.append(time.monotonic() - begin)


def main() -> int:
    options = parse()
    flags = ("--sessions.kv_policy", options.kv_policy, "--limits.max_versions", "64")
    alone: list[float] = []
    pushed: list[float] = []
    seconds: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(options.stepd, options.model, *flags) as daemon,
    ):
        daemon.wait_ready()
        out = Path(folder) / "figures.json"
        measure(options, daemon, out)  # warms up
        for _ in range(options.rounds):
            alone.append(measure(options, daemon, out))
            with Pusher(options, daemon.target) as pusher:
                pushed.append(measure(options, daemon, out))
            seconds += pusher.seconds
    before, during = statistics.median(alone), statistics.median(pushed)
    print(f"p99 alone            {before:8.2f} ms  (median of {options.rounds})")
    print(f"p99 while pushing    {during:8.2f} ms")
    print(f"ratio                {during / before:8.2f}")
    print(
        f"pushes               {len(seconds):8d}     "
        f"(each {statistics.median(seconds):.2f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
