"""Arrow record batches as Beam elements: their coder, and their keys.

A key is the number of a bucket of users or of videos: the elements that Beam moves are batches of thousands of plays,
never single rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

#: What the keyed elements are, for Beam's choice of coders.
Keyed = tuple[int, pa.RecordBatch]


class RecordBatchCoder(beam.coders.Coder):
    """A record batch as an Arrow IPC stream.

    Beam would pickle it otherwise, and a pickled slice carries the whole of the buffers it is a slice of.
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch as an IPC stream of its own."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch of :meth:`encode`; its buffers point into ``encoded``."""
        return pa.ipc.open_stream(encoded).read_next_batch()

    def is_deterministic(self) -> bool:
        """Batches are values, never keys."""
        return False

    def to_type_hint(self) -> type:
        """The type that is coded."""
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


def bucket_numbers(ids: pa.Array, num_buckets: int) -> Ints:
    """The bucket of every id [n]: a hash that is the same in every process and release."""
    encoded = ids.dictionary_encode()
    unique = np.array([zlib.crc32(text.encode()) % num_buckets for text in encoded.dictionary.to_pylist()], np.int64)
    return unique[encoded.indices.to_numpy(zero_copy_only=False)]


def split_by_bucket(batch: pa.RecordBatch, column: str, num_buckets: int) -> Iterator[Keyed]:
    """The batch cut into one batch per bucket of the ids in ``column``; empty ones are left out."""
    if not batch.num_rows:
        return
    buckets = bucket_numbers(batch.column(column), num_buckets)
    order = np.argsort(buckets, kind="stable")
    gathered = batch.take(pa.array(order))
    bounds = np.searchsorted(buckets[order], np.arange(num_buckets + 1))
    for bucket in range(num_buckets):
        start, end = int(bounds[bucket]), int(bounds[bucket + 1])
        if end > start:
            yield bucket, gathered.slice(start, end - start)


def concat(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all rows; at least one batch is needed."""
    whole = pa.Table.from_batches(list(batches)).combine_chunks()
    return pa.RecordBatch.from_arrays(
        [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in whole.columns], schema=whole.schema
    )


def with_columns(batch: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """The batch with further columns behind its own."""
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *columns.values()], names=[*batch.schema.names, *columns], metadata=batch.schema.metadata
    )


def text_ranks(text: pa.Array) -> Ints:
    """Numbers [n] that compare as the texts do, byte by byte: equal texts have equal numbers."""
    encoded = text.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks[encoded.indices.to_numpy(zero_copy_only=False)]


def ints(column: pa.Array) -> Ints:
    """The int64 values of a column without nulls."""
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
