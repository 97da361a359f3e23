"""Section 2.4.2: score fusion and the ranked list."""

from __future__ import annotations

import tensorflow as tf


def fuse(probabilities: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """``score = Σ_k γ_k y_k``.

    Args:
        probabilities: y [B, N, K].
        weights: γ [K]; negative for negative feedback.

    Returns:
        [B, N].
    """
    return tf.linalg.matvec(probabilities, weights)


def top_candidates(score: tf.Tensor, is_real: tf.Tensor, list_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The L best candidates of each user, best first; ties go to the earlier candidate, padding comes last.

    Args:
        score: [B, N].
        is_real: bool [B, N], False on padding.
        list_length: The longest list; L = min(list_length, N).

    Returns:
        (score [B, L], place of each in the request, int32 [B, L]); padding scores the lowest float, which is finite and
        keeps the list descending.
    """
    length = tf.minimum(list_length, tf.shape(score)[1])
    # top_k keeps the order of equal elements.
    best, places = tf.math.top_k(tf.where(is_real, score, score.dtype.min), k=length)
    return best, places
