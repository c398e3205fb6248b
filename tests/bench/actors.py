# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A closed loop of actors in Python, whatever protocol they speak.

Each actor is a thread that sends its next step when it has the answer to the
last one; threads are spread over a process per core. Episodes are staggered.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
from typing import Protocol

EPISODE_STEPS = 128
WARM_UP_SECONDS = 0.3


class Actor(Protocol):
    """Belongs to one thread. `position` is where in its episode it begins."""

    num_steps: int

    def __init__(self, target: str, name: str, position: int) -> None: ...
    def step(self) -> None: ...
    def close(self) -> None: ...


def run_actors(
    actor_type: type[Actor], target: str, actors: range, num_actors: int, seconds: float
) -> float:
    """Steps per second of some of the actors, of one process."""
    all_actors = [
        actor_type(target, f"python-{i}", i * EPISODE_STEPS // num_actors)
        for i in actors
    ]
    end = time.perf_counter() + WARM_UP_SECONDS + seconds
    is_open = True

    def run(actor: Actor) -> None:
        while is_open:
            actor.step()

    threads = [threading.Thread(target=run, args=(one,)) for one in all_actors]
    for thread in threads:
        thread.start()
    time.sleep(WARM_UP_SECONDS)
    num_before = sum(one.num_steps for one in all_actors)
    begin = time.perf_counter()
    time.sleep(max(0.0, end - begin))
    num_steps = sum(one.num_steps for one in all_actors) - num_before
    rate = num_steps / (time.perf_counter() - begin)
    is_open = False
    for thread in threads:
        thread.join()
    for one in all_actors:
        one.close()
    return rate


def main(actor_type: type[Actor]) -> None:
    """Prints the steps per second of all actors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    options, _ = parser.parse_known_args()
    num_processes = min(os.cpu_count() or 1, options.actors)
    shares = [
        range(
            options.actors * i // num_processes,
            options.actors * (i + 1) // num_processes,
        )
        for i in range(num_processes)
    ]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        rates = pool.starmap(
            run_actors,
            [
                (actor_type, options.target, s, options.actors, options.seconds)
                for s in shares
            ],
        )
    print(sum(rates))
