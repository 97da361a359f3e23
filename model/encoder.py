"""Section 2.1: the feedback-aware sequential encoder."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

#: Added to the scores of masked keys; large enough to vanish after softmax, small enough for half precision.
MASKED = -1e4


def causal_mask(length: tf.Tensor) -> tf.Tensor:
    """Which keys a query may see: itself and those before it.  # bool [1, length, length]"""
    return tf.linalg.band_part(tf.ones([1, length, length], tf.bool), -1, 0)


def key_mask(valid: tf.Tensor) -> tf.Tensor:
    """Every query sees the same keys, those that are ``valid`` [B, length].  # bool [B, 1, length]"""
    return valid[:, tf.newaxis, :]


class SelfAttention(tf.keras.layers.Layer):
    """Scaled dot-product attention (eq. 4), one head.

    ``softmax(X W^q (X W^k)^T / √d) X W^v`` with W^q, W^k, W^v of width × width, where width = d + 3 for the paper's
    tokens and d is the item embedding's width.

    Args:
        scale_dim: d of the scale √d.

    Call:
        x: [B, T, width].
        mask: bool, broadcastable to [B, T, T]; each query must see at least one key.
        Returns [B, T, width].
    """

    def __init__(self, scale_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale_dim**-0.5

    def build(self, shape: Any) -> None:  # noqa: D102
        width = shape[-1]
        # One matmul for the three projections.
        self.w_qkv = self.add_weight(name="w_qkv", shape=[width, 3 * width], initializer="glorot_uniform")

    def call(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:  # noqa: D102
        q, k, v = tf.split(tf.matmul(x, self.w_qkv), 3, axis=-1)  # [B, T, width] each
        scores = tf.matmul(q, k, transpose_b=True) * self.scale  # [B, query, key]
        scores += tf.where(mask, tf.zeros([], scores.dtype), tf.constant(MASKED, scores.dtype))
        return tf.matmul(tf.nn.softmax(scores), v)  # [B, T, width]


class EncoderBlock(tf.keras.layers.Layer):
    """One block of the encoder, post-LayerNorm (eq. 5).

    ``H' = LayerNorm(SelfAttention(X) + X)``, ``H = LayerNorm(FFN(H') + H')``.

    Args:
        scale_dim: d of the attention's scale.
        ffn_units: Width of the FFN's hidden layer.
        dropout: Share of both branches' outputs dropped in training.

    Call:
        x: [B, T, width].  mask: as in SelfAttention.  Returns [B, T, width].
    """

    def __init__(self, scale_dim: int, ffn_units: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.attention = SelfAttention(scale_dim, name="attention")
        self.norm_attention = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="norm_attention")
        self.norm_ffn = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="norm_ffn")
        self.hidden = tf.keras.layers.Dense(ffn_units, activation="relu", name="ffn_hidden")
        self.dropout = tf.keras.layers.Dropout(dropout)

    def build(self, shape: Any) -> None:  # noqa: D102
        self.out = tf.keras.layers.Dense(shape[-1], name="ffn_out")

    def call(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:  # noqa: D102
        x = self.norm_attention(self.dropout(self.attention(x, mask)) + x)
        return self.norm_ffn(self.dropout(self.out(self.hidden(x))) + x)


class TokenSequence(tf.keras.layers.Layer):
    """The encoder's input: a learned start token, then the plays plus learned positions (eq. 3).

    The start token stands for "no play yet", so a user without a history (H = 0) still has a state; token h is what is
    known after h plays. Positions count from the window's first play.

    Args:
        positions: Rows of the position table; longer sequences are refused by the look-up.

    Call:
        plays: [B, P, width].
        Returns [B, P + 1, width].
    """

    def __init__(self, positions: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.positions = positions

    def build(self, shape: Any) -> None:  # noqa: D102
        self.start = self.add_weight(name="start", shape=[1, 1, shape[-1]], initializer=_small())
        self.position = self.add_weight(name="position", shape=[self.positions, shape[-1]], initializer=_small())

    def call(self, plays: tf.Tensor) -> tf.Tensor:  # noqa: D102
        plays += tf.gather(self.position, tf.range(tf.shape(plays)[1]))
        start = tf.broadcast_to(self.start, tf.stack([tf.shape(plays)[0], 1, plays.shape[-1]]))
        return tf.concat([start, plays], axis=1)


def _small() -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(stddev=0.02)


class Encoder(tf.keras.layers.Layer):
    """The whole encoder: tokens [e; r^e; r^f; r^g] + p through the blocks (eq. 3-5).

    Args:
        embedding_dim: d.
        positions: Longest history.
        blocks: Number of blocks.
        ffn_units: Width of each FFN's hidden layer.
        causal: Whether a token sees only itself and earlier ones; else every token sees all plays of ``is_history``.
        dropout: Dropout inside the blocks.

    Call:
        plays: [B, P, width], width = d + 3 for the paper's tokens.
        is_history: bool [B, P], the plays that may be seen (unused, and needless, when causal).
        Returns the states [B, P + 1, width]: row h is e_h after h plays.
    """

    def __init__(
        self,
        embedding_dim: int,
        positions: int,
        blocks: int,
        ffn_units: int,
        causal: bool,
        dropout: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tokens = TokenSequence(positions, name="tokens")
        self.blocks = [EncoderBlock(embedding_dim, ffn_units, dropout, name=f"block_{i}") for i in range(blocks)]
        self.causal = causal

    def call(self, plays: tf.Tensor, is_history: tf.Tensor) -> tf.Tensor:  # noqa: D102
        x = self.tokens(plays)  # [B, P + 1, width]
        if self.causal:
            mask = causal_mask(tf.shape(x)[1])
        else:
            mask = key_mask(tf.pad(is_history, [[0, 0], [1, 0]], constant_values=True))
        for block in self.blocks:
            x = block(x, mask)
        return x
