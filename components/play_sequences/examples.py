"""From sorted plays and their windows to tf.Examples. Pure and vectorised.

An example is a row of an Arrow record batch with one list per feature; tfx_bsl encodes the batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.features import FLAGS, FeatureSet
from components.play_log.batches import Ints, ints, text_ranks
from components.play_log.columns import TEXT
from components.play_sequences.windows import Windows, user_bounds

#: Plays in one batch of examples, about: it bounds the memory where windows overlap a lot (one target per example).
BATCH_PLAYS = 1 << 18

_BYTES = pa.large_binary()


def sort_plays(plays: pa.RecordBatch) -> pa.RecordBatch:
    """The plays by user, time, video: an order that no order of arrival changes, since these three are unique."""
    keys = [text_ranks(plays.column("video_id")), ints(plays.column("time_ms")), text_ranks(plays.column("user_id"))]
    return plays.take(pa.array(np.lexsort(keys)))


def bounds_of(plays: pa.RecordBatch) -> Ints:
    """Where each user's plays begin in sorted plays, and their number [U+1]."""
    return user_bounds(ints(plays.column("user_id").dictionary_encode().indices))


def example_batches(
    plays: pa.RecordBatch, windows: Windows, features: FeatureSet, batch_plays: int = BATCH_PLAYS
) -> Iterator[pa.RecordBatch]:
    """The examples of the windows, one row each, as many at a time as have about ``batch_plays`` plays.

    Args:
        plays: Sorted plays (:func:`sort_plays`), joined; features they lack are '' or 0.
        windows: The windows over them.
        features: Which columns an example has.
        batch_plays: Plays (repeats counted) in a batch.
    """
    lengths = np.cumsum(windows.end - windows.start)
    start = 0
    while start < len(windows):
        limit = batch_plays + (lengths[start - 1] if start else 0)
        end = max(start + 1, int(np.searchsorted(lengths, limit, side="right")))
        yield _example_batch(plays, windows.slice(start, end), features)
        start = end


def _example_batch(plays: pa.RecordBatch, windows: Windows, features: FeatureSet) -> pa.RecordBatch:
    lengths = windows.end - windows.start
    offsets = np.concatenate([[0], np.cumsum(lengths)])  # [W+1]
    # The place of every play of every window among the plays [sum of lengths].
    where = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - windows.start, lengths)
    is_target = where >= np.repeat(windows.first_target, lengths)
    gather, first = pa.array(where), pa.array(windows.first_target)
    one_each = np.arange(len(windows) + 1)
    columns = {}
    for feature in features.context:
        values = _example_ids(plays, windows) if feature.name == "example_id" else _column(plays, feature.name, first)
        columns[feature.name] = _lists(values, one_each)
    for feature in features.plays:
        values = (
            pa.array(is_target.astype(np.int64))
            if feature.name == "is_target"
            else _column(plays, feature.name, gather)
        )
        columns[feature.name] = _lists(values, offsets)
    return pa.RecordBatch.from_pydict(columns)


def _column(plays: pa.RecordBatch, name: str, where: pa.Array) -> pa.Array:
    if name in plays.schema.names:
        return plays.column(name).take(where)
    if name in FLAGS:
        return pa.repeat(pa.scalar(0, pa.int64()), len(where))
    return pa.repeat(pa.scalar("", TEXT), len(where))


def _example_ids(plays: pa.RecordBatch, windows: Windows) -> pa.Array:
    place = pa.array(windows.first_target - windows.user_start).cast(TEXT)
    users = plays.column("user_id").take(pa.array(windows.first_target))
    return pc.binary_join_element_wise(users, place, pa.scalar(":", TEXT))


def _lists(values: pa.Array, offsets: Ints) -> pa.Array:
    if values.type == TEXT:
        values = values.cast(_BYTES)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


class Encoder:
    """Encodes batches of examples as serialised tf.Examples, equal examples as equal bytes."""

    def __init__(self) -> None:
        self._encoder = RecordBatchToExamplesEncoder()

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One serialised tf.Example per row."""
        return [canonical(example) for example in self._encoder.encode(batch)]


def canonical(example: bytes) -> bytes:
    """The same tf.Example with its features in a fixed order.

    A protobuf map is serialised in the order of a hash table that differs from example to example, so the encoder gives
    other bytes for the same example each time. Here the entries are put in order, by their bytes, without decoding.
    """
    position = begin = _varint(example, 1)[1]  # behind the header of Example.features
    entries = []
    while position < len(example):
        start = position
        size, position = _varint(example, position + 1)  # Features.feature, an entry of the map
        position += size
        entries.append(example[start:position])
    entries.sort()
    return example[:begin] + b"".join(entries)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` and the position behind it."""
    value = message[position]
    position += 1
    if value < 0x80:
        return value, position
    value, shift = value & 0x7F, 7
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
