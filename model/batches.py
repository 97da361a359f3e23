"""Batches for training: transformed sequence examples, parsed once, cached, padded among examples of like length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.features import FLAGS, FeatureSet
from model.network import Population, window_masks

#: Examples up to each of these many plays are batched together.
LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

#: Examples parsed by one op.
PARSE_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Windows:
    """Transformed examples as two tensors each: ``context`` int64 [columns] and ``plays`` int64 [P, columns].

    Attributes:
        dataset: Elements are single examples.
        features: Says what the columns are.
    """

    dataset: tf.data.Dataset
    features: FeatureSet

    @property
    def context_columns(self) -> list[str]:
        """Columns of ``context``."""
        return [f.name for f in self.features.context if f.name != "example_id"]

    @property
    def play_columns(self) -> list[str]:
        """Columns of ``plays``."""
        return [f.name for f in self.features.plays]


def read_windows(files: Sequence[str], features: FeatureSet) -> Windows:
    """Reads gzipped TFRecords of transformed examples; parsed once, then cached in memory.

    Raises:
        ValueError: If there is no file.
    """
    if not files:
        raise ValueError("There are no transformed examples to read; the Transform step wrote none.")
    windows = Windows(tf.data.Dataset.range(0), features)
    spec: dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature] = {
        c: tf.io.FixedLenFeature([1], tf.int64) for c in windows.context_columns
    }
    spec |= {c: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64) for c in windows.play_columns}

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, spec)
        columns = [parsed[c] for c in windows.play_columns]
        plays = columns[0].with_values(tf.stack([c.values for c in columns], axis=-1))  # [batch, P, columns]
        return {"context": tf.concat([parsed[c] for c in windows.context_columns], axis=1), "plays": plays}

    dataset = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP", num_parallel_reads=None)
    dataset = dataset.batch(PARSE_BATCH).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    shape = [None, len(windows.play_columns)]
    dataset = dataset.unbatch().map(lambda e: {**e, "plays": tf.ensure_shape(e["plays"], shape)}).cache()
    return dataclasses.replace(windows, dataset=dataset)


def padded_batches(windows: Windows, plays_per_batch: int, shuffle_seed: int | None) -> tf.data.Dataset:
    """Batches of the windows as ``{"context": {name: [B, 1]}, "plays": {name: [B, P], "mask": bool [B, P]}}``.

    Args:
        windows: What ``read_windows`` gave.
        plays_per_batch: B · P of a full batch, padding included.
        shuffle_seed: Shuffles anew every epoch; None keeps the order.
    """
    dataset = windows.dataset
    if shuffle_seed is not None:
        dataset = dataset.shuffle(1 << 16, seed=shuffle_seed)
    sizes = _batch_sizes(plays_per_batch)
    dataset = dataset.bucket_by_sequence_length(
        lambda e: tf.shape(e["plays"])[0], [length + 1 for length in LENGTHS], sizes
    )
    if shuffle_seed is not None:
        # The buckets emit their remainders at the end, the longest last: mix the batches too.
        dataset = dataset.shuffle(64, seed=shuffle_seed)

    def unstack(batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        context = dict(
            zip(windows.context_columns, tf.split(batch["context"], len(windows.context_columns), 1), strict=True)
        )
        plays = dict(zip(windows.play_columns, tf.unstack(batch["plays"], axis=-1), strict=True))
        return {"context": context, "plays": {**plays, **window_masks(plays)}}

    return dataset.map(unstack, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(4)


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """What the training data knows of each video: one row by video id; ids 0 and 1 stand for no video.

    Attributes:
        columns: Names of the columns: the video's features, ``video_id`` first.
        rows: int64 [V, columns].
    """

    columns: tuple[str, ...]
    rows: np.ndarray[Any, np.dtype[np.int64]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """One pass over the training windows."""

    population: Population
    catalogue: Catalogue
    targets: int


def summarise(windows: Windows, video_rows: int) -> Summary:
    """Means over the training targets and the catalogue of the videos seen.

    Args:
        windows: The training windows.
        video_rows: Rows of the video embedding.

    Raises:
        ValueError: If the windows hold no target.
    """
    columns = windows.play_columns
    at = {name: columns.index(name) for name in columns}
    names = tuple(f.name for f in windows.features.video)
    catalogue = np.zeros([video_rows, len(names)], np.int64)
    flags, log_watch, targets = np.zeros(len(FLAGS)), 0.0, 0
    for batch in windows.dataset.ragged_batch(1024):
        plays = batch["plays"].flat_values.numpy()  # [plays, columns]
        # A later row overwrites an earlier one, whatever the order: a video's columns do not change in the side table.
        catalogue[plays[:, at["video_id"]]] = plays[:, [at[n] for n in names]]
        chosen = plays[plays[:, at["is_target"]] > 0]
        targets += len(chosen)
        flags += chosen[:, [at[f] for f in FLAGS]].sum(axis=0)
        log_watch += np.log1p(chosen[:, at["play_time_ms"]] / 1000.0).sum()
    if not targets:
        raise ValueError("The training examples hold no target play; check data.window.")
    evv, fvv, gvv = (float(x) for x in flags / targets)
    return Summary(Population((evv, fvv, gvv), float(log_watch / targets)), Catalogue(names, catalogue), targets)


def count_batches(windows: Windows, plays_per_batch: int) -> int:
    """Batches of one epoch, whatever its order."""
    buckets = np.zeros(len(LENGTHS) + 1, np.int64)
    lengths = np.fromiter((len(e["plays"]) for e in windows.dataset.as_numpy_iterator()), np.int64)
    np.add.at(buckets, np.searchsorted(LENGTHS, lengths, side="left"), 1)
    return int(np.ceil(buckets / np.array(_batch_sizes(plays_per_batch))).sum())


def _batch_sizes(plays_per_batch: int) -> list[int]:
    """Examples in a batch of each length bucket; the last holds all that are longer."""
    return [max(1, plays_per_batch // length) for length in (*LENGTHS, 2 * LENGTHS[-1])]
