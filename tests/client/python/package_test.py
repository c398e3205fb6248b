# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The package: installable, typed, and generated from the contract as it is."""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "client/python"
GENERATED = [
    f"stepd/v1/{service}_service_pb2.{suffix}"
    for service in ("model", "policy")
    for suffix in ("py", "pyi")
]


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CLIENT / "generate", tmp_path], check=True)

    same, changed, failed = filecmp.cmpfiles(CLIENT, tmp_path, GENERATED, shallow=False)
    assert (same, changed, failed) == (GENERATED, [], []), "run client/python/generate"


def test_installs_with_pip_typed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    target = tmp_path / "target"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--no-deps"),
            *("--no-build-isolation", "--no-index", "--disable-pip-version-check"),
            *("--root-user-action=ignore", "--target", target, source),
        ],
        check=True,
    )

    installed = {
        str(path.relative_to(target)) for path in target.glob("stepd/**/*.py*")
    }
    ours = {
        str(path.relative_to(CLIENT))
        for path in CLIENT.glob("stepd/**/*.py*")
        if "__pycache__" not in path.parts
    }
    assert ours <= installed
    assert (target / "stepd/py.typed").exists()
    subprocess.run(
        [sys.executable, "-c", "import stepd; stepd.connect('localhost:1').close()"],
        env={"PYTHONPATH": str(target)},
        cwd=tmp_path,
        check=True,
    )
