"""A dense layer over several inputs that are never concatenated, so that the user's part is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class BroadcastDense(tf.keras.layers.Layer):
    """``act([x_1; x_2; …] W + b)`` without building the concatenation.

    ``[x_1; x_2] W = x_1 W_1 + x_2 W_2``, so inputs that are the same for every candidate, shaped [B, 1, ·], are
    multiplied once per user and broadcast over the [B, N, ·] of the others. The result is what ``Dense`` gives on the
    tiled concatenation.

    Args:
        units: Width of the output.
        activation: Keras activation, or None.
        use_bias: Whether to add b.

    Call:
        inputs: Tensors [B, 1 or N, width_i].
        Returns [B, N, units].
    """

    def __init__(self, units: int, activation: str | None = None, use_bias: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.activation = tf.keras.activations.get(activation)
        self.use_bias = use_bias

    def build(self, shapes: Sequence[Any]) -> None:  # noqa: D102
        widths = [shape[-1] for shape in shapes]
        # Glorot over the whole concatenation, as one Dense would have it.
        limit = (6.0 / (sum(widths) + self.units)) ** 0.5
        self.kernels = [
            self.add_weight(
                name=f"kernel_{i}",
                shape=[width, self.units],
                initializer=tf.keras.initializers.RandomUniform(-limit, limit),
            )
            for i, width in enumerate(widths)
        ]
        self.bias = self.add_weight(name="bias", shape=[self.units], initializer="zeros") if self.use_bias else None

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        total = None
        # Narrow parts first: the [B, 1, ·] ones and the bias are added up before anything of width N is touched.
        for x, kernel in sorted(zip(inputs, self.kernels, strict=True), key=lambda pair: pair[0].shape[1] != 1):
            part = tf.matmul(x, kernel)
            if total is None:
                total = part if self.bias is None else part + self.bias
            else:
                total = total + part
        return self.activation(total)


class BroadcastConcat(tf.keras.layers.Layer):
    """Concatenates tensors [B, 1 or N, ·] on the last axis, repeating those of one row.

    Call:
        inputs: Tensors [B, 1 or N, width_i], at least one of them with N rows.
        Returns [B, N, sum of the widths].
    """

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        shape = tf.shape(inputs[0])[:2]
        for other in inputs[1:]:
            shape = tf.broadcast_dynamic_shape(shape, tf.shape(other)[:2])
        rows = [tf.broadcast_to(t, tf.concat([shape, [t.shape[-1]]], 0)) for t in inputs]
        return tf.concat(rows, axis=-1)
