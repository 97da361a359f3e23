"""Watch-time thresholds and feedback flags inside the graph (paper, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.features import GLANCE_MS
from components.watch_time_quantiles.table import QuantileTable
from model.preprocessing import RESERVED_IDS

#: Marks a video without quantiles of its own.
NONE = -1


class Thresholds(tf.keras.layers.Layer):
    """The (Q50, Q60) of a play: its video's own, else its duration bucket's.

    The same table flags training examples, evaluation and ranking requests. It is held in variables, so it travels
    with the SavedModel.

    Args:
        own_ms: int64 [V, 2] by video id, -1 where the video has none.
        bucket_ms: int64 [E + 1, 2] by duration bucket.
        edges_ms: int64 [E], ascending.

    Call:
        video_id: int64 ids, any shape.
        duration_ms: int64, same shape.
        Returns int64 [..., 2].
    """

    def __init__(self, own_ms: Any, bucket_ms: Any, edges_ms: Any, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        self._values = {
            "own_ms": np.asarray(own_ms, np.int64),
            "bucket_ms": np.asarray(bucket_ms, np.int64),
            "edges_ms": np.asarray(edges_ms, np.int64),
        }
        for name, value in self._values.items():
            setattr(self, name, self._table(name, value))

    def _table(self, name: str, value: Any) -> tf.Variable:
        constant = tf.keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=value.shape, dtype=tf.int64, initializer=constant, trainable=False)

    @classmethod
    def of(cls, table: QuantileTable, vocabulary: Sequence[bytes]) -> Thresholds:
        """The layer for ids of ``vocabulary``.

        Raises:
            ValueError: If a video with quantiles is not in the vocabulary: it would lose its thresholds.
        """
        own = np.full([len(vocabulary) + RESERVED_IDS, 2], NONE, np.int64)
        rows = {value.decode(): i + RESERVED_IDS for i, value in enumerate(vocabulary)}
        lost = [video for video in table.video_id if video not in rows]
        if lost:
            raise ValueError(
                f"{len(lost)} videos have quantiles but no id in the vocabulary (the first is {lost[0]!r}); "
                "set model.vocabulary_counts.video_id to at most quantiles.min_plays."
            )
        if len(table.video_id):
            own[[rows[video] for video in table.video_id]] = table.video_ms
        return cls(own, table.bucket_ms, table.edges_ms, name="thresholds")

    def call(self, video_id: tf.Tensor, duration_ms: tf.Tensor) -> tf.Tensor:  # noqa: D102
        own = tf.gather(self.own_ms, video_id)  # [..., 2]
        flat = tf.searchsorted(self.edges_ms, tf.reshape(duration_ms, [-1]), side="right")
        bucket = tf.gather(self.bucket_ms, tf.reshape(flat, tf.shape(duration_ms)))  # [..., 2]
        return tf.where(own == NONE, bucket, own)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), **self._values}


def feedback_flags(play_time_ms: tf.Tensor, thresholds_ms: tf.Tensor) -> tf.Tensor:
    """EVV, FVV and GVV of plays (paper, Table 1), in whole milliseconds and therefore exact.

    Args:
        play_time_ms: int64 [...].
        thresholds_ms: int64 [..., 2], the (Q50, Q60) of each play.

    Returns:
        float32 [..., 3].
    """
    engaged_focused = play_time_ms[..., tf.newaxis] > thresholds_ms  # [..., 2]
    glance = play_time_ms[..., tf.newaxis] < GLANCE_MS  # [..., 1]
    return tf.cast(tf.concat([engaged_focused, glance], axis=-1), tf.float32)
