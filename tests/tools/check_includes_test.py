# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""tools/check_includes.py: each forbidden direction is found, and only those."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def check(tree: pathlib.Path, file: str, text: str) -> tuple[int, str]:
    """Checks a repository that holds one file."""
    subprocess.run(["git", "init", "-q", tree], check=True)
    path = tree / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, ROOT / "tools/check_includes.py", tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("server/engine/executor.cc", '"ATen/core/Tensor.h"'),
        ("server/main.cc", "<torch/torch.h>"),
        ("server/engine/engine.h", '"c10/core/Device.h"'),
        ("server/engine/engine.cc", '"model/decoder/decoder.h"'),
        ("server/engine/engine.cc", '"model/checkpoint/safetensors.h"'),
        ("server/verify/recorded_case.cc", '"model/checkpoint/formats.h"'),
        ("server/commands/serve.cc", '"model/loader.h"'),
        ("model/policy.h", '"server/common/clock.h"'),
        ("model/loader.cc", "<grpcpp/grpcpp.h>"),
        ("model/step.cc", '"google/protobuf/message.h"'),
        ("model/step.cc", '"proto/stepd/v1/policy_service.pb.h"'),
        ("model/checkpoint/formats.cc", "<yaml-cpp/yaml.h>"),
        ("model/kernels/norm.cc", "  <spdlog/spdlog.h>"),
    ],
)
def test_refuses_an_include_against_the_direction(
    tmp_path: pathlib.Path, file: str, include: str
) -> None:
    code, out = check(tmp_path, file, f"// A comment.\n#include {include}\n")

    assert code == 1
    name = include.strip().strip('<>"')
    assert out.startswith(f"{file}:2: includes {name}: ")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("server/main.cc", '"model/loader.h"'),
        ("server/engine/executor.h", '"model/policy.h"'),
        ("server/engine/session.h", '"model/kv_cache/block_pool.h"'),
        ("server/service/policy_service.cc", "<grpcpp/grpcpp.h>"),
        ("server/verify/recorded_case.cc", '"model/checkpoint/safetensors.h"'),
        ("model/loader.cc", '"ATen/core/Tensor.h"'),
        ("tests/model/loader_test.cc", '"server/common/clock.h"'),
        ("third_party/x/x.h", '"torch/torch.h"'),
    ],
)
def test_lets_the_planned_includes_pass(
    tmp_path: pathlib.Path, file: str, include: str
) -> None:
    assert check(tmp_path, file, f"#include {include}\n") == (0, "")


def test_refuses_a_family_name_where_architectures_are_data(
    tmp_path: pathlib.Path,
) -> None:
    code, out = check(tmp_path, "model/decoder/decoder.cc", "\n// As MOUSE does.\n")

    assert code == 1
    assert out.startswith(
        'model/decoder/decoder.cc:2: names the checkpoint family "MOUSE"'
    )


def test_refuses_a_family_name_in_a_path(tmp_path: pathlib.Path) -> None:
    code, out = check(tmp_path, "server/mythos.cc", "\n")

    assert code == 1
    assert "the path names" in out


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model/checkpoint/mouse.cc", "mouse"),
        ("tests/golden/BUILD.bazel", "mouse_v03"),
        ("docs/checkpoints.md", "Puzzletron"),
        ("README.md", "MOUSE"),
        ("server/observe/page.html", 'addEventListener("mousemove", f)'),
    ],
)
def test_lets_family_names_stand_where_they_belong(
    tmp_path: pathlib.Path, file: str, text: str
) -> None:
    assert check(tmp_path, file, text) == (0, "")
