# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes: valid for Kubernetes, and true of the real binary."""

from __future__ import annotations

import copy
import pathlib
import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = pathlib.Path(__file__).parents[2] / "deploy/kubernetes"
VARIANTS = ("base", "overlays/journal", "overlays/tls")
# The oldest that still has schemas here, and the newest.
KUBERNETES = ("1.25", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


def render(variant: str) -> list[Manifest]:
    """Returns the manifests of a kustomization."""
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / variant],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(request.param)


def only(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    found = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and name in ("", manifest["metadata"]["name"])
    ]
    assert len(found) == 1, (kind, name, found)
    return found[0]


def pod_of(manifests: list[Manifest]) -> Manifest:
    pod: Manifest = only(manifests, "StatefulSet")["spec"]["template"]["spec"]
    return pod


def container_of(manifests: list[Manifest]) -> Manifest:
    (container,) = pod_of(manifests)["containers"]
    assert isinstance(container, dict)
    return container


def config_text(manifests: list[Manifest]) -> str:
    text = only(manifests, "ConfigMap")["data"]["stepd.yaml"]
    assert isinstance(text, str)
    return text


def settings_of(manifests: list[Manifest]) -> dict[str, Any]:
    """Returns what the daemon gets, by full key: the file, then the flags."""
    settings = {
        f"{section}.{key}": value
        for section, keys in yaml.safe_load(config_text(manifests)).items()
        for key, value in keys.items()
    }
    for argument in container_of(manifests)["args"]:
        key, equals, value = argument.removeprefix("--").partition("=")
        if equals:
            settings[key] = value
    return settings


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)(s|m)", duration)
    assert match, duration
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)B?", text)
    assert match, text
    return int(match[1]) * {"Mi": 2**20, "Gi": 2**30}[match[2]]


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_every_manifest(
    manifests: list[Manifest], version: str
) -> None:
    kinds = sorted(manifest["kind"] for manifest in manifests)

    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)

    assert kinds == [
        "ConfigMap",
        "PodDisruptionBudget",
        "Service",
        "Service",
        "StatefulSet",
    ]


def test_a_misspelt_field_would_be_noticed(manifests: list[Manifest]) -> None:
    wrong = copy.deepcopy(only(manifests, "StatefulSet"))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


def test_everything_selects_the_pods(manifests: list[Manifest]) -> None:
    stateful_set = only(manifests, "StatefulSet")["spec"]
    labels = stateful_set["template"]["metadata"]["labels"].items()

    assert stateful_set["selector"]["matchLabels"].items() <= labels
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    for spread in pod_of(manifests)["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= labels
    for name in ("stepd", "stepd-replicas"):
        service = only(manifests, "Service", name)["spec"]
        assert service["selector"].items() <= labels


def test_replicas_have_names_of_their_own(manifests: list[Manifest]) -> None:
    name = only(manifests, "StatefulSet")["spec"]["serviceName"]

    headless = only(manifests, "Service", name)["spec"]

    assert headless["clusterIP"] == "None"
    assert "clusterIP" not in only(manifests, "Service", "stepd")["spec"]


def test_one_replica_may_leave_while_another_serves(
    manifests: list[Manifest],
) -> None:
    replicas = only(manifests, "StatefulSet")["spec"]["replicas"]

    budget = only(manifests, "PodDisruptionBudget")["spec"]

    assert budget["maxUnavailable"] < replicas


def test_ports_are_those_the_daemon_listens_on(manifests: list[Manifest]) -> None:
    settings = settings_of(manifests)

    listening = {
        "grpc": settings["server.address"],
        "metrics": settings["server.metrics_address"],
    }

    ports = {
        port["name"]: port["containerPort"] for port in container_of(manifests)["ports"]
    }
    assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == listening
    for name in ("stepd", "stepd-replicas"):
        for port in only(manifests, "Service", name)["spec"]["ports"]:
            assert port["targetPort"] == port["name"]
            assert port["port"] == ports[port["name"]]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_base_probes_grpc_health(probe: str) -> None:
    container = container_of(render("base"))
    grpc = next(port for port in container["ports"] if port["name"] == "grpc")

    assert container[probe]["grpc"] == {"port": grpc["containerPort"]}
    assert "httpGet" not in container[probe]


# Kubernetes' gRPC probes cannot speak TLS.
@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ("startupProbe", "/readyz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
    ],
)
def test_with_tls_the_probes_ask_the_http_port(probe: str, path: str) -> None:
    container = container_of(render("overlays/tls"))

    assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    assert "grpc" not in container[probe]


def test_termination_waits_for_the_drain(manifests: list[Manifest]) -> None:
    drain = seconds(settings_of(manifests)["server.drain_timeout"])

    grace = pod_of(manifests)["terminationGracePeriodSeconds"]

    assert grace >= drain + 5


def test_the_container_may_do_nothing_but_serve(manifests: list[Manifest]) -> None:
    pod, container = pod_of(manifests), container_of(manifests)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # Except to its journal.
    writable = [m["name"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable in ([], ["journal"])


def test_the_environment_holds_no_key_by_accident(manifests: list[Manifest]) -> None:
    # A Service named stepd would set STEPD_PORT, which the daemon refuses.
    assert pod_of(manifests)["enableServiceLinks"] is False
    assert "env" not in container_of(manifests)
    assert "envFrom" not in container_of(manifests)


def test_the_daemon_is_sized_to_its_container(manifests: list[Manifest]) -> None:
    settings = settings_of(manifests)
    limits = container_of(manifests)["resources"]["limits"]

    assert settings["executors.count"] == int(limits["cpu"])
    # LibTorch and a small policy want about 1 GiB.
    assert size(settings["sessions.cache_bytes"]) + 2**30 <= size(limits["memory"])


def test_mounted_files_are_those_the_daemon_reads(manifests: list[Manifest]) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(manifests)["volumes"]}
    for claim in only(manifests, "StatefulSet")["spec"].get("volumeClaimTemplates", ()):
        volumes[claim["metadata"]["name"]] = claim
    mounts = {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in container_of(manifests)["volumeMounts"]
    }
    settings = settings_of(manifests)

    config = only(manifests, "ConfigMap")["metadata"]["name"]
    assert mounts["/etc/stepd"]["configMap"]["name"] == config
    arguments = container_of(manifests)["args"]
    assert arguments[:3] == ["serve", "--config", "/etc/stepd/stepd.yaml"]
    assert str(pathlib.PurePath(settings["model.path"]).parent) in mounts
    for key in ("tls.cert", "tls.key", "tls.client_ca", "journal.path"):
        if key in settings:
            assert str(pathlib.PurePath(settings[key]).parent) in mounts


def test_the_journal_comes_back_with_its_replica() -> None:
    manifests = render("overlays/journal")
    settings = settings_of(manifests)
    (claim,) = only(manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
    mount = next(
        mount
        for mount in container_of(manifests)["volumeMounts"]
        if mount["name"] == claim["metadata"]["name"]
    )

    assert settings["journal.kind"] == "rocksdb"
    assert pathlib.PurePath(settings["journal.path"]).is_relative_to(mount["mountPath"])
    assert not mount.get("readOnly")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_plain_text_is_only_served_where_it_was_asked_for() -> None:
    base, tls = settings_of(render("base")), settings_of(render("overlays/tls"))

    assert base["server.insecure"] is True
    assert tls["server.insecure"] == "false"
    assert {"tls.cert", "tls.key", "tls.client_ca"} <= tls.keys()


def test_the_binary_knows_every_key(
    manifests: list[Manifest], flags: frozenset[str]
) -> None:
    unknown = [key for key in settings_of(manifests) if f"--{key}" not in flags]

    assert unknown == []
    assert "--config" in flags


def test_the_binary_accepts_the_configuration(
    manifests: list[Manifest], stepd_binary: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # A model that is not there: the configuration was read without complaint.
    config = tmp_path / "stepd.yaml"
    config.write_text(config_text(manifests))
    no_model = str(tmp_path / "no-model")
    command, config_flag, _, *others = container_of(manifests)["args"]

    refused = subprocess.run(
        [stepd_binary, command, config_flag, config, *others, "--model.path", no_model],
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 2
    assert no_model in refused.stderr


def test_the_binary_is_the_version_of_the_image(
    manifests: list[Manifest], stepd_binary: pathlib.Path
) -> None:
    told = subprocess.run(
        [stepd_binary, "--version"], capture_output=True, text=True, check=True
    )

    _, _, tag = container_of(manifests)["image"].partition(":")
    assert tag in told.stdout.split()
