# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Client and Session against a fake service: answers, errors, deadlines, TLS."""

import pickle
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import stepd
from certificates import Authority
from fake_service import FakeService, dqn_row, error_status
from stepd import results
from stepd.v1 import policy_service_pb2 as pb

STEP: dict[str, Any] = {"action": 0, "obs": [0.0, 0.5, 1.0]}
ROWS: dict[str, Any] = {"action": np.zeros(3, np.int64), "obs": np.zeros((3, 3))}


# --------------------------------------------------------------------- answers


def test_describe_says_what_the_server_said(client: stepd.Client) -> None:
    answer = client.describe()

    assert [field.name for field in answer.fields] == [
        "action",
        "obs",
        "reward",
        "words",
    ]
    assert answer.fields[0] == stepd.Field("action", np.dtype("<i8"), (), 0, 3, True)
    assert (answer.fields[1].min, answer.fields[2].required) == (None, False)
    assert [field.is_ragged for field in answer.fields] == [False, False, False, True]
    assert answer.outputs == (stepd.Output("dqn", (4,)),)
    assert (answer.num_actions, answer.limits.max_actors_per_batch) == (4, 32)


def test_the_fields_are_asked_for_once(
    service: FakeService, client: stepd.Client
) -> None:
    for actor in ("a", "b"):
        client.session(actor).step(STEP)

    assert service.num_describes == 1


def test_step_answers_one_step(client: stepd.Client) -> None:
    session = client.session("a")
    session.step(STEP)
    result = session.step(STEP, outputs=["dqn"])

    assert (result.action, result.log_prob) == (1, -0.125)
    assert (result.step_index, result.model_version) == (2, 7)
    np.testing.assert_array_equal(result.outputs["dqn"], dqn_row(1))


def test_there_is_no_action_where_the_policy_has_none() -> None:
    message = pb.StepResponse(step_index=3)

    step = results.step_result(message)
    steps = results.steps_result(message)

    assert (step.action, step.log_prob, step.step_index) == (None, None, 3)
    assert (steps.action, steps.log_prob) == (None, None)
    assert (steps.actions.size, steps.log_probs.size) == (0, 0)


def test_outputs_are_views_of_the_reply(client: stepd.Client) -> None:
    dqn = client.session("a").step(STEP, outputs=("dqn",)).outputs["dqn"]

    assert dqn.dtype == np.float32
    assert not dqn.flags.owndata
    assert not dqn.flags.writeable


def test_steps_answers_the_last_or_all(client: stepd.Client) -> None:
    session = client.session("a")
    last = session.steps(ROWS, outputs=("dqn",))
    every = session.steps(ROWS, outputs=("dqn",), answer="all")

    assert (last.actions.tolist(), last.action, last.log_prob) == ([2], 2, -0.25)
    assert last.outputs["dqn"].shape == (1, 4)
    assert every.actions.tolist() == [3, 0, 1]
    assert every.log_probs.tolist() == [-0.375, -0.5, -0.625]
    np.testing.assert_array_equal(
        every.outputs["dqn"], [dqn_row(3), dqn_row(4), dqn_row(5)]
    )
    assert every.step_index == 6


def test_steps_refuses_another_answer(client: stepd.Client) -> None:
    with pytest.raises(ValueError, match="first"):
        client.session("a").steps(ROWS, answer="first")  # type: ignore[arg-type]


def test_session_inputs_reach_the_server(
    service: FakeService, client: stepd.Client
) -> None:
    (described,) = client.describe().session_inputs
    world = {"map": [1.0, 2.0]}
    client.session("a").step(STEP, session_inputs=world)
    client.session("b").steps(ROWS, session_inputs=world)
    client.step_batch(
        ["c", "a", "d"], ROWS, session_inputs={"map": [[1.0, 2.0], None, [3.0, 4.0]]}
    )
    with client.stream() as stream:
        stream.step("e", STEP, session_inputs=world)
        stream.step_batch(["f"], {k: v[:1] for k, v in ROWS.items()})
    client.session("a").step(STEP)

    assert described.name == "map"
    given = [
        [(t.name, list(t.shape), list(t.lengths)) for t in request.session_inputs]
        for request in service.requests
    ]
    one: list[Any] = [("map", [1, 2], [])]
    assert given == [one, one, [("map", [2, 2], [1, 0, 1])], one, [], []]


def test_sampling_reaches_the_server(
    service: FakeService, client: stepd.Client
) -> None:
    client.session("a").step(STEP, temperature=0.5, num_actions=3, seed=2**64 - 1)

    want = pb.Sampling(temperature=0.5, num_actions=3, seed=2**64 - 1)
    assert service.requests[-1].sampling == want


def test_reset_starts_again(client: stepd.Client) -> None:
    session = client.session("a")
    session.step(STEP)
    session.reset()

    assert session.step(STEP).step_index == 1


def test_leaving_a_session_resets_it(
    service: FakeService, client: stepd.Client
) -> None:
    with client.session("a") as session:
        session.step(STEP)

    step, reset = service.requests
    assert reset.actor_id == "a"
    assert reset.epoch > step.epoch


def test_leaving_a_session_hides_no_error(
    service: FakeService, client: stepd.Client
) -> None:
    with pytest.raises(KeyError), client.session("a"):
        service.fail_next = error_status(grpc.StatusCode.UNAVAILABLE, "DRAINING")
        raise KeyError("the actor's own")


def test_step_batch_answers_every_actor(client: stepd.Client) -> None:
    client.session("b").step(STEP)
    result = client.step_batch(["a", "b", "c"], ROWS, outputs=("dqn",))

    assert result.actions.tolist() == [0, 1, 0]
    assert result.log_probs.tolist() == [0, -0.125, 0]
    assert result.step_indices.tolist() == [1, 2, 1]
    np.testing.assert_array_equal(
        result.outputs["dqn"], [dqn_row(0), dqn_row(1), dqn_row(0)]
    )
    assert (result.errors, result.model_version) == ({}, 7)
    result.raise_errors()


def test_a_row_that_fails_fails_alone(
    service: FakeService, client: stepd.Client
) -> None:
    service.fail_actor["b"] = error_status(
        grpc.StatusCode.FAILED_PRECONDITION, "CONTEXT_FULL", "64 steps"
    )
    result = client.step_batch(["a", "b", "c"], ROWS)

    assert result.step_indices.tolist() == [1, 0, 1]
    assert list(result.errors) == [1]
    with pytest.raises(stepd.ContextFull, match="64 steps"):
        result.raise_errors()


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("INVALID_ARGUMENT", "FIELD_RANGE", stepd.FieldError),
        ("INVALID_ARGUMENT", "OUTPUT_UNKNOWN", stepd.InvalidRequest),
        ("INVALID_ARGUMENT", "LIMIT", stepd.InvalidRequest),
        ("INVALID_ARGUMENT", "A_LATER_ONE", stepd.InvalidRequest),
        ("FAILED_PRECONDITION", "SESSION_INPUTS", stepd.SessionInputsRefused),
        ("FAILED_PRECONDITION", "CONTEXT_FULL", stepd.ContextFull),
        ("RESOURCE_EXHAUSTED", "SESSIONS_FULL", stepd.SessionsFull),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", stepd.Overloaded),
        ("RESOURCE_EXHAUSTED", "", stepd.StepdError),
        ("UNAVAILABLE", "DRAINING", stepd.Draining),
        ("UNAVAILABLE", "LOADING", stepd.Loading),
        ("UNAVAILABLE", "", stepd.Unavailable),
        ("DEADLINE_EXCEEDED", "DEADLINE", stepd.DeadlineExceeded),
        ("CANCELLED", "CANCELLED", stepd.Cancelled),
        ("UNAUTHENTICATED", "", stepd.NotAllowed),
        ("PERMISSION_DENIED", "", stepd.NotAllowed),
        ("INTERNAL", "INTERNAL", stepd.InternalError),
    ],
)
def test_errors_have_their_class(
    service: FakeService,
    client: stepd.Client,
    code: str,
    reason: str,
    kind: type[stepd.StepdError],
) -> None:
    client.describe()
    service.fail_next = error_status(grpc.StatusCode[code], reason, "why")

    with pytest.raises(stepd.StepdError) as caught:
        client.session("a").step(STEP)

    assert type(caught.value) is kind
    assert (caught.value.code.name, caught.value.reason) == (code, reason)
    assert caught.value.message == "why"


def test_errors_carry_details(service: FakeService, client: stepd.Client) -> None:
    client.describe()
    service.fail_next = error_status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "OVERLOADED",
        "the queue is full",
        retry_after=0.25,
        field="obs",
        got="NaN",
    )

    with pytest.raises(stepd.Overloaded) as caught:
        client.session("a").step(STEP)

    assert caught.value.retry_after == 0.25
    assert caught.value.metadata == {"field": "obs", "got": "NaN"}
    assert caught.value.field == "obs"
    assert str(caught.value) == "OVERLOADED: the queue is full"


def test_reasons_of_another_domain_are_not_ours(
    service: FakeService, client: stepd.Client
) -> None:
    client.describe()
    code = grpc.StatusCode.UNAVAILABLE
    service.fail_next = error_status(code, "DRAINING", domain="a.proxy")

    with pytest.raises(stepd.StepdError) as caught:
        client.session("a").step(STEP)

    assert (type(caught.value), caught.value.reason) == (stepd.Unavailable, "")


def test_details_that_cannot_be_read_leave_the_code() -> None:
    class Broken(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "upstream"

        def trailing_metadata(self) -> Any:
            return (("grpc-status-details-bin", b"\xff"),)

    error = stepd.errors.from_rpc_error(Broken())

    assert (type(error), error.message) == (stepd.Unavailable, "upstream")


def test_errors_survive_pickling(service: FakeService, client: stepd.Client) -> None:
    error = stepd.errors.from_status(
        error_status(grpc.StatusCode.UNAVAILABLE, "DRAINING", "bye", 1.0, field="x")
    )

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is stepd.Draining
    assert vars(copy) == vars(error)


def test_wrong_inputs_are_refused_without_a_call(
    service: FakeService, client: stepd.Client
) -> None:
    with pytest.raises(stepd.FieldError):
        client.session("a").step({"action": 0.5, "obs": [0, 0, 0]})

    assert service.requests == []


def test_no_server_is_unavailable() -> None:
    with (
        stepd.connect("127.0.0.1:1") as client,
        pytest.raises(stepd.Unavailable) as caught,
    ):
        client.describe()

    assert caught.value.reason == ""


def test_calls_have_the_clients_deadline(service: FakeService) -> None:
    with stepd.connect(service.target, timeout=0.2) as client:
        client.describe(timeout=30)
        service.hold.clear()

        with pytest.raises(stepd.DeadlineExceeded):
            client.session("a").step(STEP)


def test_a_call_may_have_its_own_deadline(service: FakeService) -> None:
    with stepd.connect(service.target, timeout=None) as client:
        client.describe()
        service.hold.clear()

        with pytest.raises(stepd.DeadlineExceeded):
            client.session("a").steps(ROWS, timeout=0.2)


# ------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def serve_tls(authority: Authority, *, mutual: bool) -> Any:
    cert, key = authority.issue("server.test")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), cert.read_bytes())],
        authority.ca_file.read_bytes() if mutual else None,
        require_client_auth=mutual,
    )
    return FakeService().start(credentials)


def test_tls_checks_the_servers_name(authority: Authority) -> None:
    server, port = serve_tls(authority, mutual=False)
    named = stepd.Tls(ca_file=authority.ca_file, server_name="server.test")
    unnamed = stepd.Tls(ca_file=authority.ca_file)

    with stepd.connect(f"127.0.0.1:{port}", tls=named) as client:
        assert client.describe().num_actions == 4
    with (
        stepd.connect(f"127.0.0.1:{port}", tls=unnamed) as client,
        pytest.raises(stepd.Unavailable),
    ):
        client.describe()
    server.stop(None).wait()


def test_mutual_tls_shows_our_certificate(authority: Authority) -> None:
    server, port = serve_tls(authority, mutual=True)
    cert, key = authority.issue("client.test")
    with_ours = stepd.Tls(authority.ca_file, cert, key, "server.test")
    without = stepd.Tls(authority.ca_file, server_name="server.test")

    with stepd.connect(f"127.0.0.1:{port}", tls=with_ours) as client:
        assert client.describe().num_actions == 4
    with (
        stepd.connect(f"127.0.0.1:{port}", tls=without) as client,
        pytest.raises(stepd.Unavailable),
    ):
        client.describe()
    server.stop(None).wait()


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="go together"):
        stepd.Tls(cert_file=tmp_path / "cert.pem")
