"""Section 2.4.1: the pieces of the joint loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def bpr_pairs(logits: tf.Tensor, labels: tf.Tensor, is_target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Every pair of a flagged and an unflagged target of the same example, for one task.

    BPR is the log loss on the difference of a pair's logits: ``-log σ(z_positive - z_negative)``.

    Args:
        logits: [B, P].
        labels: 0 or 1, [B, P].
        is_target: 0 or 1, [B, P].

    Returns:
        (differences [B, P, P], weights [B, P, P]): weight 1 where row p is a positive and column q a negative target.
    """
    positive = labels * is_target
    negative = (1.0 - labels) * is_target
    difference = logits[:, :, tf.newaxis] - logits[:, tf.newaxis, :]
    return difference, positive[:, :, tf.newaxis] * negative[:, tf.newaxis, :]


class TaskWeights(tf.keras.layers.Layer):
    """λ, the weights of the tasks in the joint loss; they always sum to 1.

    Fixed: ``λ_k ∝ weights_k``. Adaptive: ``λ_k ∝ weights_k · exp(r_k)`` with r_k the ratio of a fast to a slow moving
    average of L_k, so that a task whose loss stopped falling gains weight; the step-wise form of dynamic weight average
    (Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention, CVPR 2019, eq. 7).

    Args:
        weights: Relative weight of each task [K], positive.
        adaptive: Whether to adapt.
        fast: Decay of the fast average.
        slow: Decay of the slow average.
        temperature: T of the softmax; the larger, the more even the weights.

    Call:
        losses: L_k [K] of this step.
        training: Moves the averages.
        Returns λ [K], without gradient.
    """

    def __init__(
        self,
        weights: Sequence[float],
        adaptive: bool,
        fast: float = 0.9,
        slow: float = 0.99,
        temperature: float = 0.2,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.log_prior = tf.math.log(tf.constant(list(weights), tf.float32))
        self.adaptive, self.decays, self.temperature = adaptive, (fast, slow), temperature
        if adaptive:
            self.averages = self.add_weight(
                name="averages", shape=[2, len(weights)], initializer="zeros", trainable=False
            )
            self.steps = self.add_weight(name="steps", shape=[], initializer="zeros", trainable=False)

    def call(self, losses: tf.Tensor, training: bool = False) -> tf.Tensor:  # noqa: D102
        if not self.adaptive:
            return tf.nn.softmax(self.log_prior)
        decay = tf.constant(self.decays)[:, tf.newaxis]  # [2, 1]
        if training:
            self.steps.assign_add(1.0)
            self.averages.assign(decay * self.averages + (1 - decay) * tf.stop_gradient(losses))
        unbiased = self.averages / tf.maximum(1 - tf.pow(decay, self.steps), 1e-6)  # as Adam corrects its averages
        ratio = tf.math.divide_no_nan(unbiased[0], unbiased[1])  # [K]
        return tf.nn.softmax(self.log_prior + ratio / self.temperature)
