#!/usr/bin/env python3
# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Takes every figure that stepd promises, and says which are reached.

  tools/figures.py --out DIR                 all of them: half an hour
  tools/figures.py --out DIR --only PART     served, small, foreign, transport, forward,
                                             idle or open
  tools/figures.py --out DIR --only none     the table of what DIR has already

Each part is one run of tools/bench, whose result is DIR/PART.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).with_name("bench")
ACTORS = (1, 8, 32, 64)

# What tools/bench is asked in each part.
PARTS = {
    "served": [
        *("--peers", "--python", "--shape", "reference"),
        *("--seconds", "1", "--raw-seconds", "0.5"),
    ],
    "small": [
        *("--peers", "--python", "--shape", "small", "--mode", "stream"),
        *("--actors", "8,64", "--seconds", "1", "--raw-seconds", "0.1"),
    ],
    "foreign": [
        *("--foreign-peers", "--python", "--shape", "reference"),
        *("--mode", "unary", "--seconds", "1", "--raw-seconds", "0.1"),
    ],
    "transport": ["--shape", "tiny", "--mode", "unary,batch", "--actors", "32,64,256"],
    "forward": ["--forward"],
    "idle": [
        *("--shape", "reference", "--mode", "stream", "--actors", "32"),
        *("--idle-sessions", "100000"),
    ],
    "open": [
        *("--shape", "reference", "--mode", "open", "--actors", "64"),
        *("--rate", "6000"),
    ],
}

Results = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    name: str
    part: str
    value: Callable[[Results], float]
    least: float | None = None
    most: float | None = None

    def wanted(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:,g}"
        return f"≤ {self.most:,g}" if self.most is not None else ""

    def is_reached(self, value: float) -> bool:
        if self.least is not None:
            return value >= self.least
        return self.most is None or value <= self.most


def case(
    figure: str, model: str, mode: str, actors: int, server: str = "stepd"
) -> Callable[[Results], float]:
    """The median of a figure of a served case."""

    def value(result: Results) -> float:
        for one in result["cases"]:
            keys = (one["model"], one["mode"], one["actors"], one["server"])
            if keys == (model, mode, actors, server):
                return float(one["median"][figure])
        raise KeyError(f"{model}, {mode}, {actors} actors, {server}")

    return value


def forward(name: str) -> Callable[[Results], float]:
    """The median of a figure of the forward alone."""

    def value(result: Results) -> float:
        return next(
            float(one["median"]) for one in result["figures"] if one["name"] == name
        )

    return value


def idle_ratio(result: Results) -> float:
    rate = ("steps_per_second", "reference", "stream", 32)
    return case(*rate, "stepd, idle sessions")(result) / case(*rate)(result)


def served_figures() -> list[Figure]:
    over_peer, raw = "over_best_peer", "raw_over_peer"
    figures = [
        *(
            Figure(
                f"stepd / best peer, reference, C++ stream, A = {a}",
                "served",
                case(over_peer, "reference", "stream", a),
                least=least,
            )
            for a, least in zip(ACTORS, (10, 10, 10, 8), strict=True)
        ),
        *(
            Figure(
                f"stepd / best peer, reference, Python unary, A = {a}",
                "served",
                case(over_peer, "reference", "python", a),
                least=5,
            )
            for a in ACTORS
        ),
        *(
            Figure(
                f"stepd / best peer, small, {client}, A = {a}",
                "small",
                case(over_peer, "small", mode, a),
                least=least,
            )
            for client, mode, a, least in (
                ("C++ stream", "stream", 8, 8.0),
                ("C++ stream", "stream", 64, 5.0),
                ("Python unary", "python", 8, 2.5),
                ("Python unary", "python", 64, 2.5),
            )
        ),
        *(
            Figure(
                f"raw forward / plain torch in process, A = {a}",
                "served",
                case(raw, "reference", "stream", a),
                least=4,
            )
            for a in ACTORS
        ),
    ]
    for mode in ("stream", "batch"):
        name = f"{mode}, A = 64"
        figures += [
            Figure(
                f"served / raw forward, {name}",
                "served",
                case("served_over_raw", "reference", mode, 64),
                least=0.75,
            ),
            Figure(
                f"forward's share of the server's CPU time, {name}",
                "served",
                case("forward_share", "reference", mode, 64),
                least=0.85,
            ),
        ]
    for share, most in (("p50", 0.25), ("p99", 1.0)):
        figures.append(
            Figure(
                f"added latency, unary, A = 1, {share}, ms",
                "served",
                case(f"added_{share}_ms", "reference", "unary", 1),
                most=most,
            )
        )
    return figures


def forward_figures() -> list[Figure]:
    def figure(
        name: str, least: float | None = None, most: float | None = None
    ) -> Figure:
        return Figure(name, "forward", forward(name), least, most)

    return [
        *(
            figure(f"reference / native kernels, time, M = {m}", least=2.5)
            for m in ACTORS
        ),
        figure("achieved / peak FLOP/s, M = 64", least=0.70),
        figure("time of contexts 1 .. 1024 / equal ones, M = 32", most=1.10),
        figure("growth of the last doubling / proportional growth", most=1.10),
        figure("K/V bytes per second / stream bandwidth", least=0.6),
        figure("KV bytes resident / held, contexts 1 .. 1024", most=1.05),
        figure("float32 / bfloat16, time, M = 8", least=1.5),
        figure("float32 / bfloat16, time, M = 64", least=1.5),
    ]


def foreign_figures() -> list[Figure]:
    """Python clients throughout; each of the others has its own protocol."""

    def ratio(server: str, actors: int) -> Callable[[Results], float]:
        rate = ("steps_per_second", "reference", "python", actors)
        return lambda result: case(*rate)(result) / case(*rate, server)(result)

    return [
        Figure(
            f"stepd / {server}, reference, Python, A = {actors}",
            "foreign",
            ratio(server, actors),
        )
        for server in ("Triton", "LitServe", "Ray")
        for actors in ACTORS
    ]


def other_figures() -> list[Figure]:
    rate = "steps_per_second"
    open_loop = [
        Figure(
            f"open loop of 6,000 steps/s, A = 64, {share}, ms",
            "open",
            case(f"{share}_ms", "reference", "open", 64),
        )
        for share in ("p50", "p99")
    ]
    return [
        Figure(
            "transport, unary, tiny policy, steps/s",
            "transport",
            case(rate, "tiny", "unary", 64),
            least=15_000,
        ),
        Figure(
            "transport, StepBatch of 32, tiny policy, steps/s",
            "transport",
            case(rate, "tiny", "batch", 256),
            least=150_000,
        ),
        Figure("with 100,000 idle sessions / none", "idle", idle_ratio, least=0.97),
        Figure(
            "bytes per idle session beyond its log",
            "idle",
            lambda result: float(result["idle_session_bytes"]),
            most=512,
        ),
        *open_loop,
    ]


def table(results: dict[str, Results]) -> str:
    lines = [
        "| figure | wanted | reached | | part |",
        "| --- | --- | --: | --- | --- |",
    ]
    every = served_figures() + foreign_figures() + forward_figures() + other_figures()
    for figure in every:
        if figure.part not in results:
            continue
        value = figure.value(results[figure.part])
        verdict = "" if figure.is_reached(value) else "not reached"
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
        lines.append(
            f"| {figure.name} | {figure.wanted()} | {shown} | {verdict} |"
            f" {figure.part} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=[*PARTS, "none"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for part, arguments in PARTS.items():
        if options.only not in (None, part):
            continue
        out = ["--rounds", str(options.rounds), "--out", str(options.out / part)]
        out[-1] += ".json"
        # Its table has more than this one's; the file has it all.
        run = subprocess.run([BENCH, *arguments, *out], stdout=subprocess.DEVNULL)
        if run.returncode != 0:
            return run.returncode
    results = {
        part: json.loads((options.out / f"{part}.json").read_text())
        for part in PARTS
        if (options.out / f"{part}.json").exists()
    }
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
