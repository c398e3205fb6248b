# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Sliding windows: as wide as an episode they change nothing, narrower they do."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

# The longest recorded episode has so many tokens.
EPISODE = 9


@pytest.mark.parametrize(("window", "exit_code"), [(EPISODE, 0), (EPISODE - 1, 1)])
def test_a_window_hides_what_is_left_of_it(
    stepd_binary: Path, golden: Path, tmp_path: Path, window: int, exit_code: int
) -> None:
    case = tmp_path / "case"
    shutil.copytree(golden / "puzzletron/qwen3_hetero_tied", case)
    path = case / "checkpoint/config.json"
    config = json.loads(path.read_text())
    config["use_sliding_window"] = True
    config["sliding_window"] = window
    config["layer_types"] = ["sliding_attention"] * config["num_hidden_layers"]
    path.write_text(json.dumps(config))

    verify = subprocess.run(
        [stepd_binary, "verify", case], capture_output=True, text=True, check=False
    )

    assert verify.returncode == exit_code, verify.stdout + verify.stderr
