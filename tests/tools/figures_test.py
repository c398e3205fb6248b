# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""tools/figures.py: the table of what is reached, from results that are made up."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

FORWARD = {
    "reference / native kernels, time, M = 1": 1.0,
    "reference / native kernels, time, M = 8": 9.0,
    "reference / native kernels, time, M = 32": 9.0,
    "reference / native kernels, time, M = 64": 9.0,
    "achieved / peak FLOP/s, M = 64": 0.9,
    "time of contexts 1 .. 1024 / equal ones, M = 32": 1.2,
    "growth of the last doubling / proportional growth": 1.0,
    "K/V bytes per second / stream bandwidth": 0.7,
    "KV bytes resident / held, contexts 1 .. 1024": 1.01,
    "float32 / bfloat16, time, M = 8": 2.0,
    "float32 / bfloat16, time, M = 64": 2.0,
}


def table(folder: pathlib.Path) -> list[str]:
    """The lines of the table of what the folder has; nothing is measured."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools/figures.py", "--out", folder, "--only", "none"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_figure_that_is_not_reached_is_said_to_be(tmp_path: pathlib.Path) -> None:
    figures = [{"name": name, "median": median} for name, median in FORWARD.items()]
    (tmp_path / "forward.json").write_text(json.dumps({"figures": figures}))

    missed = [line for line in table(tmp_path) if "not reached" in line]

    assert [line.split("|")[1].strip() for line in missed] == [
        "reference / native kernels, time, M = 1",
        "time of contexts 1 .. 1024 / equal ones, M = 32",
    ]
    assert len(table(tmp_path)) == 2 + len(FORWARD)


def test_parts_that_were_not_measured_are_left_out(tmp_path: pathlib.Path) -> None:
    assert len(table(tmp_path)) == 2
