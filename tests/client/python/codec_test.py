# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Requests: what protobuf reads is what was given, or a FieldError says why not."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import stepd
from fake_service import DESCRIPTION
from stepd import codec, description, options
from stepd.codec import Codec
from stepd.v1 import policy_service_pb2 as pb

FAKE = description.from_proto(DESCRIPTION)
STEP: dict[str, Any] = {"action": 2, "obs": [0.5, 1.5, 2.5]}
GREEDY = options.plain_options(())


def with_fields(*fields: stepd.Field) -> Codec:
    """A codec for just these fields."""
    return Codec(dataclasses.replace(FAKE, fields=fields))


def field(
    dtype: str, shape: tuple[int, ...] = (), *, required: bool = True, name: str = "x"
) -> stepd.Field:
    return stepd.Field(name, np.dtype(dtype), shape, None, None, required)


def parse(request: bytes) -> dict[str, pb.Tensor]:
    """The inputs of a StepRequest, by name."""
    return {t.name: t for t in pb.StepRequest.FromString(request).inputs}


def read(tensor: pb.Tensor) -> np.ndarray[Any, Any]:
    """A tensor's array; fails when shape and bytes disagree."""
    dtype = description.DTYPES[tensor.dtype]
    return np.frombuffer(tensor.data, dtype).reshape(tuple(tensor.shape))


# ------------------------------------------------------------------ round trip

DTYPES = ["int64", "int32", "uint8", "bool", "float16", "float32", "float64"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)


@given(st.data())
def test_one_step_arrives_bit_for_bit(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    array = data.draw(hnp.arrays(dtype, SHAPES))
    encoder = with_fields(field(dtype.name, array.shape))

    tensor = parse(encoder.step(b"", {"x": array}, b""))["x"]

    assert tuple(tensor.shape) == (1, *array.shape)
    assert tensor.data == array.tobytes()
    assert description.DTYPES[tensor.dtype] == dtype
    assert not tensor.lengths


@given(st.integers(-(2**63), 2**63 - 1))
def test_python_integers_arrive(value: int) -> None:
    tensor = parse(with_fields(field("int64")).step(b"", {"x": value}, b""))["x"]

    assert read(tensor).tolist() == [value]


@given(st.floats())
def test_python_floats_are_rounded_as_numpy_rounds(value: float) -> None:
    tensor = parse(with_fields(field("float32")).step(b"", {"x": value}, b""))["x"]

    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(read(tensor), np.array([value], np.float32))


@given(
    st.lists(
        st.one_of(st.none(), hnp.arrays("float32", st.tuples(st.integers(0, 3)))),
        min_size=1,
        max_size=6,
    )
)
def test_ragged_steps_arrive_with_their_lengths(values: list[Any]) -> None:
    encoder = with_fields(field("float32", (-1,), required=False))

    inputs = parse(encoder.steps(b"", {"x": values}, b""))

    present = [value for value in values if value is not None]
    if not present:
        assert inputs == {}
        return
    lengths = [0 if value is None else len(value) for value in values]
    assert list(inputs["x"].lengths) == lengths
    np.testing.assert_array_equal(read(inputs["x"]), np.concatenate(present))


@given(st.integers(0, 2**40))
def test_varints_are_protobufs(value: int) -> None:
    message = pb.StepStreamRequest(request_id=value).SerializeToString()

    assert message in (b"", b"\x08" + codec.varint(value))


def test_a_request_is_what_protobuf_writes() -> None:
    sampling = stepd.Sampling(temperature=0.5, num_actions=3, seed=9)
    tail = options.plain_options(("dqn",), sampling, all_steps=True, ephemeral=True)

    request = Codec(FAKE).step(codec.step_head("a"), {**STEP, "reward": 1}, tail)

    want = pb.StepRequest(
        actor_id="a",
        inputs=[
            pb.Tensor(
                name="action",
                dtype=pb.DATA_TYPE_INT64,
                shape=[1],
                data=np.int64(2).tobytes(),
            ),
            pb.Tensor(
                name="obs",
                dtype=pb.DATA_TYPE_FLOAT32,
                shape=[1, 3],
                data=np.array([0.5, 1.5, 2.5], np.float32).tobytes(),
            ),
            pb.Tensor(
                name="reward",
                dtype=pb.DATA_TYPE_FLOAT32,
                shape=[1],
                data=np.float32(1).tobytes(),
            ),
        ],
        outputs=["dqn"],
        sampling=pb.Sampling(temperature=0.5, num_actions=3, seed=9),
        answered_steps=pb.ANSWERED_STEPS_ALL,
        ephemeral=True,
    )
    assert pb.StepRequest.FromString(request) == want


def test_greedy_options_take_no_bytes() -> None:
    assert GREEDY == b""


def test_arrays_are_copied_only_into_the_request() -> None:
    array = np.zeros((4, 3), np.float32)
    parts: codec.Parts = []

    Codec(FAKE)._encoders["obs"].add_rows(array, 4, parts)

    assert any(part is array for part in parts)


# ----------------------------------------------------------------- conversions


@dataclass
class Taken:
    name: str
    field: stepd.Field
    value: Any
    want: Any


TAKEN = [
    Taken("int64_of_int32", field("int64", (2,)), np.array([1, -2], np.int32), [1, -2]),
    Taken(
        "int64_of_uint8", field("int64", (2,)), np.array([1, 255], np.uint8), [1, 255]
    ),
    Taken("int64_of_small_uint64", field("int64"), np.uint64(5), 5),
    Taken("int32_of_int64", field("int32"), np.int64(5), 5),
    Taken("scalar_of_0d_array", field("int64"), np.array(3), 3),
    Taken("scalar_of_numpy_float", field("float32"), np.float64(0.5), 0.5),
    Taken("float32_of_int", field("float32"), 3, 3.0),
    Taken("float32_of_uint8", field("float32", (1,)), np.array([7], np.uint8), [7.0]),
    Taken(
        "float32_of_float16", field("float32", (1,)), np.array([0.5], np.float16), [0.5]
    ),
    Taken("float32_beyond_it", field("float32"), 1e300, np.inf),
    Taken("float32_of_big_int", field("float32"), 10**30, 1e30),
    Taken("list_of_lists", field("int64", (2, 2)), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    Taken("big_endian", field("float32", (2,)), np.array([1, 2], ">f4"), [1, 2]),
    Taken("strided", field("int64", (2,)), np.arange(4)[::2], [0, 2]),
    Taken("transposed", field("int64", (2, 1)), np.array([[1, 2]]).T, [[1], [2]]),
    Taken("bool", field("bool"), True, True),
    Taken("empty_list", field("int64", (0,)), [], []),
]


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_takes(case: Taken) -> None:
    tensor = parse(with_fields(case.field).step(b"", {"x": case.value}, b""))["x"]

    assert description.DTYPES[tensor.dtype] == case.field.dtype
    want = np.asarray(case.want, case.field.dtype)[np.newaxis]
    np.testing.assert_array_equal(read(tensor), want)


@dataclass
class Refused:
    name: str
    field: stepd.Field
    value: Any
    reason: str


REFUSED = [
    Refused("float_as_index", field("int64"), 1.0, "FIELD_TYPE"),
    Refused("bool_as_index", field("int64"), True, "FIELD_TYPE"),
    Refused("bools_as_indices", field("int64", (1,)), [False], "FIELD_TYPE"),
    Refused("bool_as_real", field("float32"), True, "FIELD_TYPE"),
    Refused("text", field("float32"), "1.0", "FIELD_TYPE"),
    Refused("complex", field("float32"), 1j, "FIELD_TYPE"),
    Refused("object", field("float32"), object(), "FIELD_TYPE"),
    Refused("int_as_bool", field("bool"), 1, "FIELD_TYPE"),
    Refused("beyond_int64", field("int64"), 2**63, "FIELD_RANGE"),
    Refused("far_beyond_int64", field("int64"), 2**70, "FIELD_RANGE"),
    Refused("beyond_int32", field("int32"), np.int64(2**31), "FIELD_RANGE"),
    Refused("beyond_uint8", field("uint8", (2,)), [0, -1], "FIELD_RANGE"),
    Refused("leading_1", field("float32", (2,)), np.zeros((1, 2)), "FIELD_SHAPE"),
    Refused("too_long", field("float32", (2,)), [1, 2, 3], "FIELD_SHAPE"),
    Refused("scalar_for_vector", field("float32", (1,)), 1.0, "FIELD_SHAPE"),
    Refused("vector_for_scalar", field("float32"), [1.0], "FIELD_SHAPE"),
    Refused("uneven_lists", field("int64", (2, 2)), [[1], [2, 3]], "FIELD_SHAPE"),
    Refused("ragged_entry", field("int64", (-1, 2)), [[1, 2, 3]], "FIELD_SHAPE"),
    Refused("ragged_scalar", field("int64", (-1,)), 3, "FIELD_SHAPE"),
    Refused("missing", field("int64"), None, "FIELD_MISSING"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refuses(case: Refused) -> None:
    with pytest.raises(stepd.FieldError) as caught:
        with_fields(case.field).step(b"", {"x": case.value}, b"")

    assert caught.value.reason == case.reason
    assert caught.value.field == "x"
    assert caught.value.code.name == "INVALID_ARGUMENT"


def test_refuses_an_unknown_field_even_beside_a_none() -> None:
    with pytest.raises(stepd.FieldError) as caught:
        Codec(FAKE).step(b"", {**STEP, "reward": None, "rewards": 1.0}, b"")

    assert (caught.value.reason, caught.value.field) == ("FIELD_UNKNOWN", "rewards")


def test_an_error_says_what_came_and_what_was_wanted() -> None:
    with pytest.raises(stepd.FieldError) as caught:
        Codec(FAKE).step(b"", {**STEP, "obs": [1.0]}, b"")

    assert caught.value.metadata == {"field": "obs", "got": "[1]", "want": "[3]"}
    assert str(caught.value) == "FIELD_SHAPE: field 'obs': shape is [1], want [3]"


# ------------------------------------------------------------ several rows


def test_optional_fields_may_be_none_or_left_out() -> None:
    assert set(parse(Codec(FAKE).step(b"", {**STEP, "reward": None}, b""))) == set(STEP)
    assert set(parse(Codec(FAKE).step(b"", STEP, b""))) == set(STEP)


def test_single_rows_of_an_optional_field_may_be_none() -> None:
    inputs = parse(
        Codec(FAKE).steps(
            b"",
            {
                "action": [0, 1, 2],
                "obs": np.zeros((3, 3)),
                "reward": [0.5, None, -1],
                "words": [None, None, None],
            },
            b"",
        )
    )

    assert list(inputs["reward"].lengths) == [1, 0, 1]
    assert read(inputs["reward"]).tolist() == [0.5, -1.0]
    assert "words" not in inputs


def test_optional_vectors_may_be_none() -> None:
    encoder = with_fields(field("float32", (2,), required=False))
    inputs = parse(encoder.steps(b"", {"x": [None, np.ones(2), [3, 4]]}, b""))

    assert list(inputs["x"].lengths) == [0, 1, 1]
    assert read(inputs["x"]).tolist() == [[1, 1], [3, 4]]


def test_one_array_of_a_ragged_field_has_one_length() -> None:
    encoder = with_fields(field("int64", (-1, 2)))
    array = np.arange(12).reshape(2, 3, 2)
    tensor = parse(encoder.steps(b"", {"x": array}, b""))["x"]

    assert list(tensor.lengths) == [3, 3]
    np.testing.assert_array_equal(read(tensor), array.reshape(6, 2))


def test_one_step_of_a_ragged_field_has_its_length() -> None:
    tensor = parse(with_fields(field("int64", (-1,))).step(b"", {"x": [4, 5]}, b""))[
        "x"
    ]

    assert (list(tensor.shape), list(tensor.lengths)) == ([2], [2])


def test_object_arrays_of_required_fields_are_dense() -> None:
    values = np.array([1, 2], dtype=object)
    tensor = parse(with_fields(field("int64")).steps(b"", {"x": values}, b""))["x"]

    assert (read(tensor).tolist(), list(tensor.lengths)) == ([1, 2], [])


@pytest.mark.parametrize(
    ("inputs", "reason", "name"),
    [
        ({"action": 1, "obs": np.zeros((2, 3))}, "FIELD_SHAPE", "action"),
        ({"action": [1, 2], "obs": np.zeros((3, 3))}, "FIELD_SHAPE", "obs"),
        ({"action": [1, None], "obs": np.zeros((2, 3))}, "FIELD_MISSING", "action"),
        ({"obs": np.zeros((2, 3))}, "FIELD_MISSING", "action"),
        (
            {"action": [1], "obs": [[1, 2, 3]], "reward": [1, 2]},
            "FIELD_SHAPE",
            "reward",
        ),
        ({"action": [1], "obs": [[1, 2, 3]], "words": [[[1]]]}, "FIELD_SHAPE", "words"),
        ({}, "FIELD_MISSING", None),
    ],
)
def test_refuses_rows(inputs: Any, reason: str, name: str | None) -> None:
    with pytest.raises(stepd.FieldError) as caught:
        Codec(FAKE).steps(b"", inputs, b"")

    assert (caught.value.reason, caught.value.field) == (reason, name)


def test_a_batch_has_a_row_per_actor() -> None:
    request = Codec(FAKE).batch(
        ["a", "b"],
        {"action": np.array([1, 2], np.int64), "obs": np.zeros((2, 3))},
        GREEDY,
    )

    message = pb.StepBatchRequest.FromString(request)
    assert list(message.actor_ids) == ["a", "b"]
    assert [list(tensor.shape) for tensor in message.inputs] == [[2], [2, 3]]


def test_output_names_are_not_a_string() -> None:
    with pytest.raises(TypeError, match=r'\("dqn",\)'):
        options.names("dqn")


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_refuses_a_seed_that_the_wire_cannot_carry(seed: int) -> None:
    with pytest.raises(stepd.InvalidRequest) as caught:
        options.plain_options((), stepd.Sampling(temperature=1.0, seed=seed))

    assert caught.value.reason == "SAMPLING"


def test_refuses_a_description_that_numpy_has_no_dtype_for() -> None:
    message = pb.DescribeResponse(
        fields=[pb.Field(name="x", dtype=pb.DATA_TYPE_BFLOAT16)]
    )

    with pytest.raises(ValueError, match="'x'"):
        description.from_proto(message)


# -------------------------------------------------------------- session inputs

SESSION = dataclasses.replace(
    FAKE,
    session_inputs=(
        field("float32", (2, 3), name="image"),
        field("bool", (2,), required=False, name="mask"),
    ),
)
IMAGE = np.arange(6, dtype=np.float32).reshape(2, 3)


def parse_session(request: bytes) -> dict[str, pb.Tensor]:
    message = pb.StepRequest.FromString(request)
    return {t.name: t for t in message.session_inputs}


def test_session_inputs_travel_beside_the_step() -> None:
    request = Codec(SESSION).step(
        b"", STEP, GREEDY, {"image": IMAGE, "mask": [True, False]}
    )

    tensors = parse_session(request)
    assert set(parse(request)) == {"action", "obs"}
    assert set(tensors) == {"image", "mask"}
    np.testing.assert_array_equal(read(tensors["image"]), [IMAGE])
    np.testing.assert_array_equal(read(tensors["mask"]), [[True, False]])


def test_session_inputs_of_several_steps_are_given_once() -> None:
    steps = {"action": np.zeros(4, np.int64), "obs": np.zeros((4, 3))}

    request = Codec(SESSION).steps(b"", steps, GREEDY, {"image": IMAGE})

    assert list(parse_session(request)["image"].shape) == [1, 2, 3]


def test_actors_whose_session_is_open_give_none() -> None:
    rows = {"action": np.zeros(3, np.int64), "obs": np.zeros((3, 3))}

    request = Codec(SESSION).batch(
        ["a", "b", "c"], rows, GREEDY, {"image": [IMAGE, None, 2 * IMAGE]}
    )

    (image,) = pb.StepBatchRequest.FromString(request).session_inputs
    assert list(image.lengths) == [1, 0, 1]
    np.testing.assert_array_equal(read(image), [IMAGE, 2 * IMAGE])


def test_session_inputs_of_all_actors_are_one_array() -> None:
    rows = {"action": np.zeros(2, np.int64), "obs": np.zeros((2, 3))}

    request = Codec(SESSION).batch(
        ["a", "b"], rows, GREEDY, {"image": np.stack([IMAGE, IMAGE])}
    )

    (image,) = pb.StepBatchRequest.FromString(request).session_inputs
    assert list(image.shape) == [2, 2, 3]
    assert not image.lengths


@pytest.mark.parametrize(
    ("session_inputs", "reason", "name"),
    [
        ({"imago": IMAGE}, "FIELD_MISSING", "image"),
        ({"image": IMAGE, "imago": IMAGE}, "FIELD_UNKNOWN", "imago"),
        ({"image": IMAGE[0]}, "FIELD_SHAPE", "image"),
        ({"image": IMAGE > 1}, "FIELD_TYPE", "image"),
        ({"image": IMAGE, "mask": [1, 0]}, "FIELD_TYPE", "mask"),
        ({"mask": [True, False]}, "FIELD_MISSING", "image"),
    ],
)
def test_refuses_session_inputs_that_do_not_fit(
    session_inputs: dict[str, Any], reason: str, name: str
) -> None:
    with pytest.raises(stepd.FieldError) as caught:
        Codec(SESSION).step(b"", STEP, GREEDY, session_inputs)

    assert (caught.value.reason, caught.value.field) == (reason, name)


def test_a_policy_may_have_no_session_inputs() -> None:
    without = dataclasses.replace(FAKE, session_inputs=())
    with pytest.raises(stepd.FieldError, match="the policy has none"):
        Codec(without).step(b"", STEP, GREEDY, {"image": IMAGE})


# ---------------------------------------------------------------- named values

TYPES = dataclasses.replace(
    field("int64", (-1,), name="types"), value_names=("obs", "reward")
)


def test_names_stand_for_the_values_they_name() -> None:
    encoder = with_fields(TYPES)

    step = parse(encoder.step(b"", {"types": ["reward", "obs"]}, b""))["types"]
    rows = {"types": [["obs"], [1, 0], ["reward", "obs"]]}
    steps = parse(encoder.steps(b"", rows, b""))["types"]

    assert read(step).tolist() == [1, 0]
    assert (read(steps).tolist(), list(steps.lengths)) == ([0, 1, 0, 1, 0], [1, 2, 2])


def test_a_name_stands_for_a_scalar() -> None:
    kind = dataclasses.replace(field("int64"), value_names=("obs", "reward"))
    encoder = with_fields(kind)

    step = parse(encoder.step(b"", {"x": "reward"}, b""))["x"]
    steps = parse(encoder.steps(b"", {"x": ["reward", "obs"]}, b""))["x"]

    assert read(step).tolist() == [1]
    assert read(steps).tolist() == [1, 0]


def test_refuses_a_name_that_the_field_has_not() -> None:
    with pytest.raises(stepd.FieldError, match="'action' is none of obs, reward") as e:
        with_fields(TYPES).step(b"", {"types": ["obs", "action"]}, b"")

    assert (e.value.reason, e.value.field) == ("FIELD_RANGE", "types")


def test_refuses_names_for_values_without() -> None:
    with pytest.raises(stepd.FieldError) as caught:
        with_fields(field("int64")).step(b"", {"x": "obs"}, b"")

    assert caught.value.reason == "FIELD_TYPE"
