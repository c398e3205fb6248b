# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""`stepd inspect` on a recorded checkpoint of every family."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def inspect(stepd_binary: Path) -> Run:
    def run(checkpoint: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [stepd_binary, "inspect", checkpoint, *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def json_of(inspect: Run, checkpoint: Path) -> dict[str, Any]:
    answer = inspect(checkpoint, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


# (family/case, format, (attention, ffn) of each layer, KV bytes per token)
FAMILIES = [
    ("mouse_v03/llama_sum_mha", "MOUSE v0.3", [("gqa", "dense")] * 2, 512),
    ("mouse_v1/step_llama_sum", "MOUSE v1", [("gqa", "dense")] * 2, 256),
    (
        "puzzletron/llama_noop_mix",
        "Hugging Face and Puzzletron",
        [
            ("gqa", "dense"),
            ("no-op", "dense"),
            ("gqa", "no-op"),
            ("no-op", "no-op"),
            ("gqa", "dense"),
        ],
        # 2 * 8 floats for each of 2 + 4 + 1 KV heads
        448,
    ),
    (
        "puzzletron/llama_linear",
        "Hugging Face and Puzzletron",
        [
            ("gqa", "linear"),
            ("linear", "dense"),
            ("linear", "linear"),
            ("gqa", "dense"),
        ],
        192,
    ),
    (
        "open_mythos/mla_moe_bias_shared2",
        "OpenMythos",
        [("mla", "dense"), ("mla", "moe"), ("mla", "dense")],
        # 12 + 8 floats for each of 1 + 4 + 1 visits
        480,
    ),
    (
        "kempner_forge/moe_softmax_freq2_shared",
        "KempnerForge",
        [("gqa", "dense"), ("gqa", "moe")] * 2,
        512,
    ),
    ("noether_untied/causal_stack", "noether untied", [("gqa", "dense")] * 3, 384),
]


@pytest.mark.parametrize(
    ("case", "name", "kinds", "kv_bytes"), FAMILIES, ids=[f[0] for f in FAMILIES]
)
def test_inspect_lists_the_layers_of_every_family(
    inspect: Run,
    golden: Path,
    case: str,
    name: str,
    kinds: list[tuple[str, str]],
    kv_bytes: int,
) -> None:
    answer = json_of(inspect, golden / case / "checkpoint")

    assert answer["format"] == name
    layers = answer["layers"]
    assert [(layer["attention"], layer["ffn"]) for layer in layers] == kinds
    assert answer["kv_bytes_per_token"] == kv_bytes
    assert sum(layer["kv_bytes_per_token"] for layer in layers) == kv_bytes
    inside = sum(layer["parameters"] for layer in layers)
    assert inside + answer["parameters_in_no_layer"] == answer["parameters"]
    # What is resident: some matrices are folded or kept in two layouts.
    assert 0.8 < answer["weight_bytes"] / (4 * answer["parameters"]) < 1.2


def test_inspect_counts_the_parameters_of_each_layer(
    inspect: Run, golden: Path
) -> None:
    checkpoint = golden / "open_mythos/mla_moe_bias_shared2/checkpoint"
    tensors = load_file(checkpoint / "model.safetensors")
    prefixes = ("prelude.0.", "recurrent.block.", "coda.0.")

    layers = json_of(inspect, checkpoint)["layers"]

    assert [layer["parameters"] for layer in layers] == [
        sum(tensor.size for name, tensor in tensors.items() if name.startswith(prefix))
        for prefix in prefixes
    ]
    assert [layer["visits"] for layer in layers] == [1, 4, 1]


def test_inspect_shows_no_op_layers_as_no_op_without_cost(
    inspect: Run, golden: Path
) -> None:
    answer = inspect(golden / "puzzletron/llama_noop_mix/checkpoint")

    assert answer.returncode == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert ["3", "0", "1", "no-op", "0", "no-op", "0", "0", "B"] in rows


def test_inspect_names_what_is_refused(
    inspect: Run, golden: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(golden / "puzzletron/llama_noop_mix/checkpoint", checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    config["block_configs"][2]["attention"]["mamba"] = {"state_dim": 16}
    (checkpoint / "config.json").write_text(json.dumps(config))

    text = inspect(checkpoint)
    answer = inspect(checkpoint, "--json")

    why = "block_configs.2.attention.mamba: is not supported"
    assert (text.returncode, text.stdout) == (2, "")
    assert "stepd: refused: " in text.stderr
    assert why in text.stderr
    assert answer.returncode == 2
    assert why in json.loads(answer.stdout)["refused"]
