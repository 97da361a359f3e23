"""Embedding tables of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def table(rows: int, width: int, name: str) -> tf.keras.layers.Embedding:
    """An embedding table; its gradient is sparse, so an update touches the rows of the batch alone."""
    start = tf.keras.initializers.RandomUniform(-0.05, 0.05)
    return tf.keras.layers.Embedding(rows, width, embeddings_initializer=start, name=name)


class SumEmbedding(tf.keras.layers.Layer):
    """The item embedding e_i: the sum of the embeddings of a video's columns (eq. 1, where the id is the only column).

    Args:
        rows: Table size of each column.
        width: d.

    Call:
        ids: One int64 tensor [B, P] for each column.
        Returns [B, P, d].
    """

    def __init__(self, rows: Sequence[int], width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.tables = [table(r, width, f"column_{i}") for i, r in enumerate(rows)]

    def call(self, ids: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        return tf.add_n([t(i) for t, i in zip(self.tables, ids, strict=True)])
