"""Between TensorProto and numpy, by the rules of TensorFlow's C++ runtime.

``tf.make_ndarray`` cannot read string tensors sent as ``tensor_content`` and accepts some tensors that the runtime
refuses, so the server and the client read tensors here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

Array = npt.NDArray[Any]

#: dtype on the wire -> (the field that holds its values, numpy dtype).
_VALUE_FIELDS: dict[int, tuple[str, Any]] = {
    types_pb2.DT_FLOAT: ("float_val", np.float32),
    types_pb2.DT_DOUBLE: ("double_val", np.float64),
    types_pb2.DT_INT64: ("int64_val", np.int64),
    types_pb2.DT_INT32: ("int_val", np.int32),
    types_pb2.DT_BOOL: ("bool_val", np.bool_),
    types_pb2.DT_STRING: ("string_val", np.object_),
}

#: More dimensions than this are no TensorFlow shape.
_MAX_RANK = 254


class TensorError(ValueError):
    """A TensorProto that the runtime could not read."""


def from_proto(proto: Any) -> Array:
    """Reads a TensorProto, from ``tensor_content`` or from its ``*_val`` field.

    As in the C++ runtime, too few values repeat the last one (none at all: zeros or ''), and surplus ones are ignored.

    Returns:
        An array of the proto's shape; strings are ``bytes`` in an object array.

    Raises:
        TensorError: The shape is not fully known, the dtype is missing, or the bytes do not fit the shape.
    """
    shape = _shape(proto)
    if proto.dtype not in _VALUE_FIELDS:
        return _parsed_by_tensorflow(proto)
    field, dtype = _VALUE_FIELDS[proto.dtype]
    size = math.prod(shape)
    try:
        if size and proto.tensor_content:
            flat = _from_content(proto.tensor_content, dtype, size)
        else:
            flat = _filled(getattr(proto, field), dtype, size)
    except MemoryError as error:
        raise TensorError(f"A tensor of shape {shape} does not fit into memory.") from error
    return flat.reshape(shape)


def to_proto(array: Array, *, packed: bool = False) -> Any:
    """Writes an array as a TensorProto.

    Args:
        array: Numbers, or an object array of ``bytes``.
        packed: Numbers go into ``tensor_content``, which is several times faster to write and to read than the
            ``*_val`` field that TF Serving's own answers use. Strings always go into ``string_val``.
    """
    dtype = tf.as_dtype(array.dtype if array.dtype != np.object_ else tf.string)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    entry = _VALUE_FIELDS.get(proto.dtype)
    if entry is None or (packed and proto.dtype != types_pb2.DT_STRING):
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, entry[0]).extend(array.ravel().tolist())
    return proto


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    # As in the runtime, a shape marked as of unknown rank is taken by its dimensions.
    if any(length < 0 for length in shape) or len(shape) > _MAX_RANK:
        raise TensorError(f"The shape is not fully known: {shape}.")
    if math.prod(shape) >= 2**63:
        raise TensorError(f"The shape {shape} is too large.")
    return shape


def _from_content(content: bytes, dtype: Any, size: int) -> Array:
    if dtype is np.object_:
        return _strings(content, size)
    expected = size * np.dtype(dtype).itemsize
    if len(content) != expected:
        raise TensorError(f"tensor_content holds {len(content)} bytes, {expected} were expected.")
    return np.frombuffer(content, dtype=dtype)


def _filled(values: Sequence[Any], dtype: Any, size: int) -> Array:
    if not values:
        return np.full(size, b"", np.object_) if dtype is np.object_ else np.zeros(size, dtype)
    given = np.empty(min(size, len(values)), dtype)
    given[:] = values[: len(given)]
    if len(given) == size:
        return given
    return np.concatenate([given, np.full(size - len(given), given[-1], dtype)])


def _strings(content: bytes, size: int) -> Array:
    """Reads the runtime's layout of string lists: all lengths as varints, then the bytes one after another."""
    lengths, at = [], 0
    for _ in range(size):
        length, at = _varint32(content, at)
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise TensorError(f"tensor_content holds {len(content)} bytes, {at + sum(lengths)} were expected.")
    strings = np.empty(size, np.object_)
    for index, length in enumerate(lengths):
        strings[index] = content[at : at + length]
        at += length
    return strings


def _varint32(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value & 0xFFFFFFFF, at
    raise TensorError("tensor_content ends within the lengths of its strings.")


def _parsed_by_tensorflow(proto: Any) -> Array:
    """The rarer dtypes go through the runtime's own parser (an eager op, about 50 microseconds)."""
    try:
        parsed: Array = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
    except (tf.errors.OpError, TypeError, KeyError) as error:
        raise TensorError(str(error)) from error
    return np.asarray(parsed)
