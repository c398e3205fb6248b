# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon as operators see it: start, health, metrics, TLS, drain, exit codes."""

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import stepd
from certificates import Authority
from daemon import Daemon

STEP = {
    "time": 0,
    "action": 1,
    "obs_continuous": [0.5, -0.5, 0.25],
    "reward": 0.5,
    "done": 0,
}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture(scope="module")
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(model)


@pytest.fixture
def channel(daemon: Daemon) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(daemon.target) as opened:
        yield opened


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(daemon: Daemon) -> dict[str, float]:
    status, text = get(f"{daemon.metrics_url}/metrics")
    assert status == 200
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines}


# ---- Health, reflection, metrics ---------------------------------------------------


@pytest.mark.parametrize("service", ["", "stepd.v1.PolicyService"])
def test_health(channel: grpc.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)

    assert answer.status == SERVING


def test_reflection(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)

    assert set(database.get_services()) >= {
        "stepd.v1.PolicyService",
        "stepd.v1.ModelService",
        "stepd.v1.SessionService",
        "stepd.v1.TrajectoryService",
        "grpc.health.v1.Health",
    }
    file = database.FindFileContainingSymbol("stepd.v1.PolicyService")
    methods = [method.name for method in file.service[0].method]
    assert {"Step", "StepBatch", "StepStream", "Reset", "Describe"} <= set(methods)


def test_metrics_count_what_happened(daemon: Daemon) -> None:
    before = metrics(daemon)

    with stepd.connect(daemon.target) as client:
        with pytest.raises(stepd.FieldError):
            client.session("metrics").step({**STEP, "action": 9})
        with client.session("metrics") as session:
            session.step(STEP)
            session.steps({name: [value] * 3 for name, value in STEP.items()})
            session.reset()

    after = metrics(daemon)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("stepd_steps_total") == 4
    assert grown("stepd_tokens_total") == 4
    assert grown("stepd_batches_total") == 2
    assert grown("stepd_step_latency_seconds_count") == 2
    assert grown("stepd_queue_wait_seconds_count") == 2
    assert grown("stepd_forward_seconds_count") == 2
    assert grown("stepd_batch_sessions_sum") == 2
    assert grown("stepd_batch_tokens_sum") == 4
    assert grown('stepd_errors_total{reason="FIELD_RANGE"}') == 1
    assert grown('stepd_session_ends_total{end="reset"}') >= 1
    fired = [name for name in after if name.startswith("stepd_batches_fired_total{")]
    assert sum(grown(name) for name in fired) == 2
    assert any(name.startswith("stepd_kv_blocks_used{") for name in after)
    assert any(name.startswith("stepd_sessions{") for name in after)
    assert after["stepd_uptime_seconds"] > 0
    assert not any("actor" in name for name in after)


def test_http_says_how_it_is(daemon: Daemon) -> None:
    assert get(f"{daemon.metrics_url}/healthz") == (200, "ok\n")
    assert get(f"{daemon.metrics_url}/readyz") == (200, "ready\n")
    assert get(f"{daemon.metrics_url}/nothing")[0] == 404


def test_the_log_tells_what_is_served(daemon: Daemon) -> None:
    log = daemon.log

    for words in (
        r"parameters +35460",
        r"device +cpu, float32",
        r"512 B per token",
        r"1\.0 GiB = \d+ full sessions of 4096 steps",
        rf"grpc +{re.escape(daemon.target)} \(no TLS\)",
    ):
        assert re.search(words, log), (words, log)


def test_json_log_lines(model: Path, start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(model, "--log.format", "json")

    assert daemon.stop() == 0

    lines = [json.loads(line) for line in daemon.log.splitlines()]
    assert [line["message"] for line in lines] == [
        "stepd is serving",
        "draining",
        "stopped",
    ]
    assert lines[0]["device"].startswith("cpu")
    assert all(line["level"] == "info" and line["time"] for line in lines)


# ---- Drain ---------------------------------------------------------------------------


def test_sigterm_answers_what_is_queued(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    # After one actor's step, the next actor's waits for the first to come again:
    # for an hour, and the queue has room for one.
    daemon = start_daemon(
        model,
        *("--executors.count", "1"),
        *("--batching.max_wait", "1h"),
        *("--batching.max_queued", "1"),
    )
    with (
        stepd.connect(daemon.target, timeout=60) as client,
        grpc.insecure_channel(daemon.target) as channel,
        ThreadPoolExecutor(2) as threads,
    ):
        client.session("first").step(STEP)
        health = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert next(health).status == SERVING
        calls = [
            threads.submit(client.session(f"late {i}").step, STEP) for i in range(2)
        ]

        done, waiting = wait(calls, 60, FIRST_COMPLETED)
        assert daemon.stop() == 0

        (refused,) = done
        overloaded = refused.exception()
        assert isinstance(overloaded, stepd.Overloaded)
        assert overloaded.retry_after
        assert [call.result().step_index for call in waiting] == [1]
        assert next(health).status == NOT_SERVING


def test_an_open_stream_does_not_hold_the_drain(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(model)
    with stepd.connect(daemon.target) as client, client.stream() as stream:
        assert stream.step("a", STEP).result(30).step_index == 1

        assert daemon.stop(timeout=20) == 0

        with pytest.raises(stepd.Draining) as caught:
            stream.step("a", STEP).result(30)
        assert caught.value.retry_after is not None


# ---- TLS -----------------------------------------------------------------------------


def test_tls(model: Path, stepd_binary: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    tls = stepd.Tls(authority.ca_file, server_name="localhost")
    flags = ("--tls.cert", str(cert), "--tls.key", str(key))
    with Daemon(stepd_binary, model, *flags) as daemon:
        daemon.wait_ready(credentials=tls.credentials())
        with stepd.connect(daemon.target, tls=tls) as client:
            assert client.session("a").step(STEP).step_index == 1
        with (
            stepd.connect(daemon.target) as plain,
            pytest.raises(stepd.Unavailable),
        ):
            plain.describe(timeout=10)
        assert daemon.stop() == 0
        assert "(TLS)" in daemon.log


# ---- Command line and exit codes -----------------------------------------------------

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(stepd_binary: Path) -> Run:
    """run(*arguments, VARIABLE=value) -> what the command printed."""

    def run_binary(*arguments: str, **variables: str) -> Any:
        kept = {k: v for k, v in os.environ.items() if k[:6] != "STEPD_"}
        return subprocess.run(
            [stepd_binary, *arguments],
            env={**kept, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run_binary


def refuses(run: Run, *arguments: str, code: int = 2, **variables: str) -> str:
    """What `stepd serve` says on stderr before it exits."""
    ports = ("--server.address", "127.0.0.1:0", "--server.metrics_address", "")
    ended = run("serve", *ports, *arguments, **variables)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def test_help_and_version(run: Run) -> None:
    serve = run("serve", "--help")
    version = run("--version")

    assert (serve.returncode, version.returncode) == (0, 0)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version.stdout)
    for flag in ("--config", "--model", "--insecure", "--server.address", "--tls.cert"):
        assert flag in serve.stdout
    assert "127.0.0.1:50051" in serve.stdout


def test_a_bad_command_line(run: Run) -> None:
    assert run().returncode == 2
    assert run("sreve").returncode == 2
    assert "--server.adress" in refuses(run, "--server.adress", "x")


def test_a_bad_configuration(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "stepd.yaml"
    file.write_text("server:\n  insecure: true\n  adress: localhost:1\n")

    said = refuses(run, "--config", str(file))
    assert said == f"stepd: server.adress: unknown key ({file}, line 3)\n"
    said = refuses(run, STEPD_SESSIONS_CACHE_BYTES="lots")
    assert "sessions.cache_bytes" in said and "STEPD_SESSIONS_CACHE_BYTES" in said
    assert "--model" in refuses(run)


def test_a_bad_checkpoint(run: Run, model: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    torn = tmp_path / "torn"
    shutil.copytree(model, torn)
    torn.joinpath("model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")

    assert str(missing) in refuses(run, "--model", str(missing))
    assert "model.safetensors" in refuses(run, "--model", str(torn))


def test_listening_beyond_this_machine_needs_leave(
    run: Run, model: Path, stepd_binary: Path, tmp_path: Path
) -> None:
    open_address = ("--model", str(model), "--server.address", "0.0.0.0:0")

    said = refuses(run, *open_address)
    assert "server.address" in said and "--insecure" in said
    assert "tls.cert" in refuses(
        run, *open_address, "--tls.cert", "/nothing", "--tls.key", "/nothing"
    )
    with Daemon(
        stepd_binary, model, "--server.address", "0.0.0.0:0", "--insecure"
    ) as daemon:
        daemon.wait_ready()
        assert daemon.stop() == 0


def test_a_port_in_use(run: Run, model: Path, daemon: Daemon) -> None:
    said = refuses(
        run, "--model", str(model), "--server.address", daemon.target, code=1
    )

    assert daemon.target in said


def test_a_file_configures_and_flags_win(
    model: Path, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    file = tmp_path / "stepd.yaml"
    file.write_text(
        "model:\n  version: 7\nlimits:\n"
        "  max_steps_per_call: 5\n  max_actors_per_batch: 6\n"
    )

    daemon = start_daemon(
        model, "--config", str(file), "--limits.max_actors_per_batch", "8"
    )

    with stepd.connect(daemon.target) as client:
        described = client.describe()
        assert described.model_version == 7
        assert described.limits.max_steps_per_call == 5
        assert described.limits.max_actors_per_batch == 8
        assert client.session("a").step(STEP).model_version == 7


def test_a_socket_file(model: Path, stepd_binary: Path, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/stepd.sock"
    with Daemon(stepd_binary, model, "--server.address", target) as daemon:
        with grpc.insecure_channel(target) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        with stepd.connect(target) as client:
            assert client.session("a").step(STEP).step_index == 1
        assert daemon.stop() == 0
