"""Section 2.2: the context feature embedding layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.dense import BroadcastDense


class ContextGate(tf.keras.layers.Layer):
    """Filters the context features by user, item and platform (eq. 6).

    Eq. 6 is read as ``E_trans = E_in ⊙ W_1 [e_u; e_i; e_p]``, the one reading in which E_trans has E_in's size D for
    every width of the embeddings.

    Args:
        identity_start: Adds 1 to the gate, so that before training every feature passes. Off is eq. 6 to the letter.

    Call:
        e_in: E_in [B, N, D].
        who_what_where: (e_u, e_i, e_p), each [B, 1 or N, d].
        Returns E_trans [B, N, D].
    """

    def __init__(self, identity_start: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = 1.0 if identity_start else 0.0

    def build(self, shape: Any) -> None:  # noqa: D102
        self.w_1 = BroadcastDense(shape[-1], use_bias=False, name="w_1")

    def call(self, e_in: tf.Tensor, who_what_where: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        return e_in * (self.w_1(who_what_where) + self.start)


class SlotImportance(tf.keras.layers.Layer):
    """Weighs the context features slot by slot (eq. 7-8).

    ``α = sigmoid(W_slot [E_trans; e_u; e_i; e_p])``, one α for each of S slots of D/S dimensions; ``Ẽ = α ⊗ E_trans``.

    Args:
        slots: S; must divide D.

    Call:
        e_trans: [B, N, D].
        who_what_where: (e_u, e_i, e_p), each [B, 1 or N, d].
        Returns Ẽ [B, N, D].

    Raises:
        ValueError: If S does not divide D.
    """

    def __init__(self, slots: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.slots = slots

    def build(self, shape: Any) -> None:  # noqa: D102
        width = shape[-1]
        if width % self.slots:
            raise ValueError(f"`slots` must divide the context width {width}. Received: `slots={self.slots}`.")
        self.slot_width = width // self.slots
        self.w_slot = BroadcastDense(self.slots, activation="sigmoid", use_bias=False, name="w_slot")

    def call(self, e_trans: tf.Tensor, who_what_where: Sequence[tf.Tensor]) -> tf.Tensor:  # noqa: D102
        alpha = self.w_slot([e_trans, *who_what_where])  # [B, N, S]
        return e_trans * tf.repeat(alpha, self.slot_width, axis=-1)  # [B, N, D]
