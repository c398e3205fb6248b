# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of random weights, for measurements."""

import subprocess
from pathlib import Path


def random_checkpoint(stepd_bench: Path, shape: str, folder: Path) -> Path:
    """One of stepd-bench's shapes, below `folder`."""
    model = folder / "checkpoint"
    model.mkdir()
    subprocess.run(
        [stepd_bench, "--shape", shape, "--write-checkpoint", model], check=True
    )
    return model
