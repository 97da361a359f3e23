"""Section 2.3: the multi-feedback prediction layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.dense import BroadcastDense


class GroupedDense(tf.keras.layers.Layer):
    """One dense layer for each of G groups: ``y_g = act(x_g W_g + b_g)``.

    Args:
        units: Width of each group's output.
        activation: Keras activation, or None.
        bias: Initial value of the biases, one for all or one per group and unit.

    Call:
        x: [B, N, G, width].
        Returns [B, N, G, units].
    """

    def __init__(self, units: int, activation: str | None = "relu", bias: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.activation = tf.keras.activations.get(activation)
        self.bias_value = bias

    def build(self, shape: Any) -> None:  # noqa: D102
        groups, width = shape[-2], shape[-1]
        limit = (6.0 / (width + self.units)) ** 0.5
        uniform = tf.keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(name="kernel", shape=[groups, width, self.units], initializer=uniform)
        start = tf.keras.initializers.Constant(self.bias_value)
        self.bias = self.add_weight(name="bias", shape=[groups, self.units], initializer=start)

    def call(self, x: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self.activation(tf.einsum("bngw,gwu->bngu", x, self.kernel) + self.bias)


class SharedExperts(tf.keras.layers.Layer):
    """M expert networks shared by K tasks, mixed by a gate per task.

    ``o_k = Σ_i g_i^k f_i(x)`` with ``g^k = softmax(W_k^gate x)`` over the M experts; x = [Ẽ; e_h].

    The experts' first layers and all gates are one matmul, and x is not concatenated: the part of e_h, which is the
    same for all candidates of a user, is computed once.

    Args:
        experts: M.
        units: Widths of each expert's layers.
        tasks: K.
        dropout: Share of the first hidden layer dropped in training.

    Call:
        x: The parts of x, each [B, 1 or N, ·].
        Returns (o [B, N, K, units[-1]], g [B, N, K, M]).
    """

    def __init__(self, experts: int, units: Sequence[int], tasks: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.experts, self.tasks, self.first_units = experts, tasks, units[0]
        self.first = BroadcastDense(experts * units[0] + tasks * experts, name="first_and_gates")
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.deeper = [GroupedDense(u, name=f"expert_layer_{i}") for i, u in enumerate(units[1:], 2)]

    def call(self, x: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:  # noqa: D102
        first = self.first(x)  # [B, N, M * units[0] + K * M]
        batch = tf.shape(first)[:2]
        hidden, gates = tf.split(first, [self.experts * self.first_units, self.tasks * self.experts], axis=-1)
        f = tf.reshape(hidden, tf.concat([batch, [self.experts, self.first_units]], 0))  # [B, N, M, units[0]]
        f = self.dropout(tf.nn.relu(f))
        for layer in self.deeper:
            f = layer(f)  # [B, N, M, units]
        g = tf.nn.softmax(tf.reshape(gates, tf.concat([batch, [self.tasks, self.experts]], 0)))  # [B, N, K, M]
        return tf.matmul(g, f), g  # [B, N, K, units[-1]], [B, N, K, M]


class TaskTowers(tf.keras.layers.Layer):
    """A tower per task: ``y_k = sigmoid(W_k^pred(o_k) + b_k)``; the sigmoid is left to the caller, who has the logits.

    Args:
        units: Widths of the hidden layers.
        bias: Initial b_k [K]: the log odds of the training data's rates, so that training starts calibrated.

    Call:
        o: [B, N, K, width].
        Returns logits [B, N, K].
    """

    def __init__(self, units: Sequence[int], bias: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden = [GroupedDense(u, name=f"tower_layer_{i}") for i, u in enumerate(units, 1)]
        self.output_layer = GroupedDense(1, activation=None, bias=[[b] for b in bias], name="w_pred")

    def call(self, o: tf.Tensor) -> tf.Tensor:  # noqa: D102
        for layer in self.hidden:
            o = layer(o)
        return tf.squeeze(self.output_layer(o), -1)
