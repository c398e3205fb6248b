# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""examples/demo: a small run passes, and a policy that plays badly fails it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).parents[2]
PATHS = ("client/python", "examples/cartpole", "examples/demo")


def demo(stepd_binary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples/demo/demo.py")),
            *("--stepd", str(stepd_binary), "--episodes", "1", *arguments),
        ],
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / p) for p in PATHS)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_small_run_reaches_every_figure(stepd_binary: Path) -> None:
    done = demo(stepd_binary, "--actors", "4")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 2
    assert "with sessions: 4/4 episodes" in done.stdout


def test_a_missed_figure_fails(stepd_binary: Path, tmp_path: Path) -> None:
    model = tmp_path / "checkpoint"
    shutil.copytree(ROOT / "examples/cartpole/checkpoint", model)
    weights = load_file(model / "model.safetensors")
    zeros = {name: np.zeros_like(weight) for name, weight in weights.items()}
    save_file(zeros, model / "model.safetensors")

    done = demo(stepd_binary, "--actors", "2", "--model", str(model))

    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("MISSED") == 1


def test_a_daemon_that_does_not_start_fails(stepd_binary: Path, tmp_path: Path) -> None:
    done = demo(stepd_binary, "--model", str(tmp_path))

    assert done.returncode == 1
    assert "the daemon ended with 2" in done.stderr


def test_an_actor_that_fails_fails_the_demo(stepd_binary: Path, golden: Path) -> None:
    model = golden / "mouse_v03/llama_sum_mha/checkpoint"
    done = demo(stepd_binary, "--actors", "2", "--model", str(model))

    assert done.returncode == 1
    assert "FIELD_MISSING" in done.stderr
