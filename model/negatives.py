"""Section 2.4.1: negatives drawn at random from unobserved videos, and what drawing them does to the probabilities."""

from __future__ import annotations

import math

import tensorflow as tf

from model.batches import Catalogue
from model.preprocessing import RESERVED_IDS


class UnobservedVideos(tf.Module):
    """Draws videos of the catalogue that a user's window does not hold.

    Args:
        catalogue: The known videos.
        per_target: Videos drawn for each target.
        seed: Seed of the draws.
    """

    def __init__(self, catalogue: Catalogue, per_target: int, seed: int):
        super().__init__(name="unobserved_videos")
        seen = catalogue.rows[RESERVED_IDS:]
        self.columns = catalogue.columns
        self.rows = tf.constant(seen[seen[:, 0] > 0])  # int64 [V, columns]
        self.per_target = per_target
        self.generator = tf.random.Generator.from_seed(seed)

    def draw(self, observed: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Videos for every play of a batch of windows.

        Args:
            observed: Video ids [B, P], 0 on padding.

        Returns:
            (their columns, each int64 [B, P · R]; weights [B, P · R], 0 where the draw hit a video of the window).
            The R draws of play p stand at p · R … p · R + R - 1.
        """
        shape = tf.stack([tf.shape(observed)[0], tf.shape(observed)[1] * self.per_target])
        places = self.generator.uniform(shape, maxval=tf.shape(self.rows)[0], dtype=tf.int32)
        drawn = tf.gather(self.rows, places)  # [B, P · R, columns]
        columns = dict(zip(self.columns, tf.unstack(drawn, axis=-1), strict=True))
        seen = tf.reduce_any(columns["video_id"][:, :, tf.newaxis] == observed[:, tf.newaxis, :], axis=-1)
        return columns, tf.cast(tf.logical_not(seen), tf.float32)


def logit_correction(rate: float, negatives: str, drawn_per_positive: int) -> float:
    """What to add to a logit so that it speaks of impressions, not of the sample it was trained on.

    Among impressions a share π carries the flag. Where R videos are drawn for each positive, the share in the sample is
    ``1 / (1 + R)`` if the draws are the only negatives and ``π / (1 + π R)`` if they stand beside the exposed ones. The
    correction is ``logit π - logit π_sample`` (prior correction: King & Zeng, Logistic Regression in Rare Events Data,
    2001, eq. 7).

    Args:
        rate: π.
        negatives: ``exposed``, ``random`` or ``both``.
        drawn_per_positive: R.
    """
    if negatives == "exposed":
        return 0.0
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    sample = 1 / (1 + drawn_per_positive) if negatives == "random" else rate / (1 + rate * drawn_per_positive)
    return math.log(rate / (1 - rate)) - math.log(sample / (1 - sample))
