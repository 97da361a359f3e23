import itertools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from components.features import FeatureSet
from components.play_log.batches import with_columns
from components.play_sequences.examples import Encoder, bounds_of, canonical, example_batches, sort_plays
from components.play_sequences.transforms import flag_plays
from components.play_sequences.windows import Segment, cut
from components.watch_time_quantiles.table import QuantileTable

FEATURES = FeatureSet.of(["age"], ["music_id"])


def text(*values):
    return pa.array(values, pa.large_string())


def plays():
    batch = pa.record_batch(
        {
            "user_id": text("b", "a", "b", "b"),
            "video_id": text("y", "x", "x", "é"),
            "platform": text("1", "", "2", "1"),
            "age": text("old", "young", "older", "oldest"),
            "author_id": text("", "q", "", "q"),
            "time_ms": pa.array([7, 5, 7, 3]),
            "play_time_ms": pa.array([4_000, 2_000, 10, 0]),
            "duration_ms": pa.array([9_000, 8_000, 7_000, 6_000]),
        }
    )
    return sort_plays(batch)


def decoded(raw):
    features = tf.train.Example.FromString(raw).features.feature
    return {n: list(f.bytes_list.value) or list(f.int64_list.value) for n, f in features.items()}


def encoded(batch_plays=100, history_length=2, targets=2, end=10):
    p = plays()
    windows = cut(bounds_of(p), p.column("time_ms").to_numpy(), Segment("s", 0, end), history_length, targets)
    batches = list(example_batches(p, windows, FEATURES, batch_plays))
    return batches, [e for b in batches for e in Encoder().encode(b)]


def test_plays_are_in_the_order_of_user_time_and_video():
    p = plays()
    assert p.column("user_id").to_pylist() == ["a", "b", "b", "b"]
    assert p.column("video_id").to_pylist() == ["x", "é", "x", "y"]
    assert bounds_of(p).tolist() == [0, 1, 4]


def test_an_example_holds_every_feature():
    _, raw = encoded()
    assert len(raw) == 3
    example = decoded(raw[2])  # the second window of user b: two plays of history, one target
    assert set(example) == {f.name for f in FEATURES.example}
    assert example["user_id"] == [b"b"] and example["example_id"] == [b"b:2"]
    assert example["age"] == [b"old"]  # the value at the first target, for the log itself has the column
    assert example["video_id"] == ["é".encode(), b"x", b"y"]
    assert example["author_id"] == [b"q", b"", b""]
    assert example["music_id"] == example["category"] == [b""] * 3  # unknown to this log
    assert example["time_ms"] == [3, 7, 7] and example["play_time_ms"] == [0, 10, 4_000]
    assert example["is_target"] == [0, 0, 1] and example["evv"] == [0, 0, 0]
    for feature in FEATURES.example:
        kind = tf.train.Example.FromString(raw[2]).features.feature[feature.name].WhichOneof("kind")
        assert kind == ("bytes_list" if feature.dtype == "bytes" else "int64_list")


def test_batches_of_any_size_make_the_same_examples():
    whole = encoded()[1]
    for size in (1, 3, 4):
        batches, raw = encoded(size)
        assert raw == whole
        assert len(batches) > 1 and all(b.num_rows for b in batches)
    assert encoded(end=0) == ([], [])


def test_equal_examples_are_equal_bytes():
    assert all(encoded()[1] == encoded()[1] for _ in range(20))


@pytest.mark.parametrize("n", [0, 1, 20, 3_000])
def test_the_fixed_order_changes_nothing_else(n):
    names = ["zz", "a", "m" * 200]
    found = set()
    for order in itertools.permutations(names):
        parts = []
        for name in order:  # concatenated messages are one message, with the features in this order
            single = tf.train.Example()
            single.features.feature[name].int64_list.value.extend(range(n))
            parts.append(single.features.SerializeToString())
        features = tf.train.Features.FromString(b"".join(parts))
        size = len(b"".join(parts))
        header = b"\x0a" + bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        while size := size >> 7:
            header += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        raw = canonical(header + b"".join(parts))
        assert tf.train.Example.FromString(raw).features == features
        found.add(raw)
    assert len(found) == 1


def test_flags_come_from_the_table():
    t = QuantileTable.of_plays(np.array([100]), 1, ["x"], np.array([1_000]), np.array([50]))
    flagged = flag_plays(plays(), t)
    assert flagged.column("evv").to_pylist() == [1, 0, 0, 1]
    assert flagged.column("gvv").to_pylist() == [1, 1, 1, 0]
    unflagged = flag_plays(plays(), None)
    assert not any(any(unflagged.column(f).to_pylist()) for f in ("evv", "fvv", "gvv"))


def test_columns_are_put_behind():
    batch = with_columns(plays(), {"n": pa.array([1, 2, 3, 4])})
    assert batch.schema.names[-1] == "n" and batch.num_columns == plays().num_columns + 1
