# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The main job: remote actors play CartPole without velocities against stepd.

Starts the daemon, lets all actors play with their sessions, then with every step
sent to a fresh session, and prints what came of it. Exits 1 when a figure is
missed: the policy balances the pole only if the daemon remembers.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import time
import urllib.request
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import actors
import env as cartpole
from actors import Plan, Played
from daemon import Daemon, DaemonFailed
from stepd import StepdError

CHECKPOINT = Path(cartpole.__file__).parent / "checkpoint"

# What has to come of it.
MIN_RETURN = 480.0  # with sessions, of cartpole.MAX_STEPS
MAX_FRESH_RETURN = 100.0  # with every step sent to a fresh session


@dataclass
class Outcome:
    """Of all actors together."""

    returns: list[float]
    latencies: np.ndarray[tuple[int], np.dtype[np.float64]]  # seconds
    seconds: float
    mean_batch: float

    @property
    def mean_return(self) -> float:
        return float(np.mean(self.returns))

    @property
    def steps_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def latency_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies, percent)) * 1e3


def read_metrics(url: str) -> dict[str, float]:
    """Prometheus' text as a dict, series by series."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if line[:1] not in ("", "#"))
    return {name: float(value) for name, value in samples}


def mean_batch(before: dict[str, float], after: dict[str, float]) -> float:
    """Actors whose steps one forward pass took, between two readings."""
    total, count = (
        after[f"stepd_batch_sessions_{part}"] - before[f"stepd_batch_sessions_{part}"]
        for part in ("sum", "count")
    )
    return total / count if count else 0.0


class Show:
    """Says how far the actors are: a bar on a terminal, else a line at times."""

    LINE_EVERY = 2.0  # seconds

    def __init__(self, console: Console, title: str, num_episodes: int) -> None:
        self._console = console
        self._title = title
        self._num_episodes = num_episodes
        self._begin = time.monotonic()  # of the first step
        self._next_line = self._begin + self.LINE_EVERY
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        # In steps: an episode that ends early has played all of its own.
        total = num_episodes * cartpole.MAX_STEPS
        self._task = self._bar.add_task(title, total=total, text="")

    def __enter__(self) -> "Show":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: actors.Progress, is_last: bool) -> None:
        """Shows `progress` as it is now."""
        steps, episodes = sum(progress.steps), sum(progress.episodes)
        score = sum(progress.score)
        now = time.monotonic()
        if steps == 0:
            self._begin = now
            return
        text = (
            f"{episodes}/{self._num_episodes} episodes, {steps} steps, "
            f"{steps / max(now - self._begin, 0.1):.0f} steps/s"
        )
        if episodes:
            text += f", mean return {score / episodes:.1f}"
        # One point a step: what ended episodes did not need counts as played.
        played = steps + episodes * cartpole.MAX_STEPS - score
        self._bar.update(self._task, completed=played, text=text)
        if not self._console.is_terminal and (is_last or now >= self._next_line):
            self._next_line = now + self.LINE_EVERY
            print(f"{self._title}: {text}", flush=True)


def run(daemon: Daemon, num_actors: int, plan: Plan, show: Show) -> Outcome:
    """Lets all actors play; raises what stopped one of them."""
    num_processes = min(num_actors, max(2, os.cpu_count() or 1))
    bounds = np.linspace(0, num_actors, num_processes + 1).astype(int).tolist()
    shares = [range(*share) for share in itertools.pairwise(bounds)]
    progress = actors.Progress(num_actors)
    spawn = multiprocessing.get_context("spawn")
    before = read_metrics(daemon.metrics_url)
    with (
        ProcessPoolExecutor(
            num_processes,
            spawn,
            actors.start,
            (daemon.target, progress, spawn.Barrier(num_processes)),
        ) as processes,
        show,
    ):
        parts = [processes.submit(actors.play, share, plan) for share in shares]
        played = watch(parts, progress, show)
    return Outcome(
        returns=[value for actor in played for value in actor.returns],
        latencies=np.concatenate([actor.latencies for actor in played]),
        seconds=max(a.ended for a in played) - min(a.began for a in played),
        mean_batch=mean_batch(before, read_metrics(daemon.metrics_url)),
    )


def watch(
    parts: list[Future[list[Played]]], progress: actors.Progress, show: Show
) -> list[Played]:
    """Shows progress until all parts are done; what was played."""
    todo = set(parts)
    while todo:
        done, todo = wait(todo, timeout=0.1)
        for part in done:
            part.result()
        show.update(progress, is_last=not todo)
    return [actor for part in parts for actor in part.result()]


def report(console: Console, kept: Outcome, fresh: Outcome) -> bool:
    """Prints the table; whether every figure was reached."""
    rows: list[tuple[str, str, str, bool | None]] = [
        (
            f"mean return with sessions (of {cartpole.MAX_STEPS})",
            f"{kept.mean_return:.1f}",
            f">= {MIN_RETURN:.0f}",
            kept.mean_return >= MIN_RETURN,
        ),
        (
            "mean return, every step to a fresh session",
            f"{fresh.mean_return:.1f}",
            f"< {MAX_FRESH_RETURN:.0f}",
            fresh.mean_return < MAX_FRESH_RETURN,
        ),
        ("episodes, steps", f"{len(kept.returns)}, {len(kept.latencies)}", "", None),
        ("steps/s", f"{kept.steps_per_second:.0f}", "", None),
        ("latency p50", f"{kept.latency_ms(50):.2f} ms", "", None),
        ("latency p99", f"{kept.latency_ms(99):.2f} ms", "", None),
        ("mean batch (actors)", f"{kept.mean_batch:.1f}", "", None),
    ]
    table = Table(title="CartPole without velocities, served by stepd")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("")
    verdicts = {None: "", True: "ok", False: "MISSED"}
    for name, measured, wanted, is_reached in rows:
        table.add_row(name, measured, wanted, verdicts[is_reached])
    console.print(table)
    return all(row[3] is not False for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Plays CartPole against stepd.")
    parser.add_argument("--stepd", type=Path, required=True, help="the daemon's binary")
    parser.add_argument("--model", type=Path, default=CHECKPOINT)
    parser.add_argument("--actors", type=int, default=32)
    parser.add_argument("--episodes", type=int, default=3, help="of each actor")
    args = parser.parse_args()
    console = Console()

    outcomes = []
    try:
        with Daemon(args.stepd, args.model) as daemon:
            daemon.wait_ready()
            print(daemon.log, flush=True)
            for title, keep_sessions in (("with sessions", True), ("afresh", False)):
                plan = Plan(args.episodes, keep_sessions)
                show = Show(console, title, args.actors * args.episodes)
                outcomes.append(run(daemon, args.actors, plan, show))
            exit_code = daemon.stop()
            if exit_code != 0:
                raise DaemonFailed(
                    f"the daemon exits {exit_code}", exit_code, daemon.log
                )
    except (DaemonFailed, StepdError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0 if report(console, *outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
