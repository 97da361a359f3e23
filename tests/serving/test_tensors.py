"""Tensors on the wire, with TensorFlow's own parser as the judge."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.tensors import TensorError, from_proto, to_proto

_FIELDS = {
    types_pb2.DT_FLOAT: ("float_val", st.floats(width=32, allow_nan=False)),
    types_pb2.DT_DOUBLE: ("double_val", st.floats(allow_nan=False)),
    types_pb2.DT_INT64: ("int64_val", st.integers(-(2**63), 2**63 - 1)),
    types_pb2.DT_INT32: ("int_val", st.integers(-(2**31), 2**31 - 1)),
    types_pb2.DT_BOOL: ("bool_val", st.booleans()),
    types_pb2.DT_STRING: ("string_val", st.binary(max_size=5)),
    types_pb2.DT_INT8: ("int_val", st.integers(-128, 127)),
    types_pb2.DT_HALF: ("half_val", st.integers(0, 100)),
    types_pb2.DT_INVALID: ("float_val", st.floats(width=32, allow_nan=False)),
}


@st.composite
def protos(draw):
    """TensorProtos of all sorts, sound and unsound."""
    dtype = draw(st.sampled_from(list(_FIELDS)))
    field, values = _FIELDS[dtype]
    proto = tensor_pb2.TensorProto(dtype=dtype)
    for length in draw(st.lists(st.integers(-1, 3), max_size=3)):
        proto.tensor_shape.dim.add(size=length)
    proto.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
    getattr(proto, field).extend(draw(st.lists(values, max_size=4)))
    if draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=24) | st.binary(min_size=8, max_size=8))
    return proto


@settings(deadline=None, max_examples=300)
@given(protos())
def test_reads_what_the_runtime_reads_and_refuses_what_it_refuses(proto):
    if proto.dtype == types_pb2.DT_BOOL:
        proto.tensor_content = b""  # bytes that are neither 0 nor 1 have no one meaning
    try:
        expected = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
    except (tf.errors.OpError, TypeError):
        with pytest.raises(TensorError):
            from_proto(proto)
        return
    read = from_proto(proto)
    assert read.shape == np.shape(expected)
    assert read.tolist() == np.asarray(expected).tolist() or np.array_equal(read, expected, equal_nan=True)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0]], np.float32),
        np.array([2**62, -1]),
        np.array([[b"a", b""]], object),
        np.zeros((2, 0), np.int64),
        np.array(3.0),
        np.array([1, 2], np.uint8),
        np.array([True, False]),
    ],
)
def test_round_trip(array, packed):
    read = from_proto(to_proto(array, packed=packed))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert read.tolist() == array.tolist()


def test_numbers_are_packed_and_strings_are_not():
    assert to_proto(np.arange(3), packed=True).tensor_content
    assert list(to_proto(np.arange(3)).int64_val) == [0, 1, 2]
    assert list(to_proto(np.array([b"a"], object), packed=True).string_val) == [b"a"]


def test_string_content_longer_than_one_length_byte():
    long = b"x" * 300
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\xac\x02\x01" + long + b"y")
    proto.tensor_shape.dim.add(size=2)
    assert from_proto(proto).tolist() == [long, b"y"]


def test_absurd_shapes_are_refused():
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT64, int64_val=[1])
    for _ in range(4):
        proto.tensor_shape.dim.add(size=2**40)
    with pytest.raises(TensorError, match="too large"):
        from_proto(proto)
