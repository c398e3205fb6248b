# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What the deployment's tests compare with: the real binary."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest


@pytest.fixture(scope="session")
def flags(stepd_binary: pathlib.Path) -> frozenset[str]:
    """Returns every flag that `stepd serve --help` lists, with its dashes."""
    done = subprocess.run(
        [stepd_binary, "serve", "--help"], capture_output=True, text=True, check=True
    )
    found = frozenset(re.findall(r"--[a-z][a-z0-9_.-]*", done.stdout))
    assert "--server.address" in found, done.stdout
    return found
