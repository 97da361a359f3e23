"""Numbers that the network reads beside the embeddings, all computed inside the graph from a play's own columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

DAY_HOURS = 24
HOUR_MS = 3_600_000


def log_seconds(ms: tf.Tensor) -> tf.Tensor:
    """``log(1 + seconds)`` of milliseconds, negative ones taken as 0."""
    return tf.math.log1p(tf.maximum(tf.cast(ms, tf.float32), 0.0) / 1000.0)


def hour_of_day(time_ms: tf.Tensor, utc_offset_ms: int) -> tf.Tensor:
    """Hour 0..23 of epoch milliseconds in a zone ``utc_offset_ms`` ahead of UTC."""
    return tf.math.floormod((time_ms + utc_offset_ms) // HOUR_MS, DAY_HOURS)


class TokenNumbers(tf.keras.layers.Layer):
    """What a history token carries beside the item embedding: the three flags, and what the settings add.

    Args:
        flags: Which of the three flags are carried, 0 or 1 each [3].
        watch: Adds log watch time and watched share.
        gap: Adds the log time since the play before.

    Call:
        flags: [B, P, 3].  play_time_ms, duration_ms, time_ms: int64 [B, P].
        Returns [B, P, 3 + extras].
    """

    def __init__(self, flags: Sequence[float], watch: bool, gap: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.carried, self.watch, self.gap = list(flags), watch, gap

    def call(  # noqa: D102
        self, flags: tf.Tensor, play_time_ms: tf.Tensor, duration_ms: tf.Tensor, time_ms: tf.Tensor
    ) -> tf.Tensor:
        parts = [flags * tf.constant(self.carried, tf.float32)]
        if self.watch:
            parts += [
                log_seconds(play_time_ms)[..., tf.newaxis],
                watched_share(play_time_ms, duration_ms)[..., tf.newaxis],
            ]
        if self.gap:
            before = tf.concat([time_ms[:, :1], time_ms[:, :-1]], axis=1)
            parts.append(log_seconds(time_ms - before)[..., tf.newaxis] / 10.0)
        return tf.concat(parts, axis=-1)


def watched_share(play_time_ms: tf.Tensor, duration_ms: tf.Tensor) -> tf.Tensor:
    """Watch time over duration, at most 2; 0 where the duration is unknown."""
    share = tf.math.divide_no_nan(tf.cast(play_time_ms, tf.float32), tf.cast(duration_ms, tf.float32))
    return tf.clip_by_value(share, 0.0, 2.0)


class HistoryStatistics(tf.keras.layers.Layer):
    """Running means over a user's plays, smoothed towards the population's.

    For each decay γ, after h plays: ``(Σ_j γ^(h-1-j) v_j + a · prior) / (Σ_j γ^(h-1-j) + a)`` over the plays j < h, for
    the three flags and the log watch time; and ``log(1 + Σ_j γ^(h-1-j))``. Means are given as distances to the prior.

    Args:
        priors: Population means [4]: evv, fvv, gvv, log watch time.
        decays: One γ in (0, 1] for each horizon.
        smoothing: a, in plays.

    Call:
        flags: [B, P, 3].
        play_time_ms: int64 [B, P].
        Returns [B, P + 1, 5 · len(decays)]; row h uses the first h plays alone.
    """

    def __init__(
        self, priors: Sequence[float], decays: Sequence[float] = (1.0, 0.7), smoothing: float = 4.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.priors = tf.constant(list(priors), tf.float32)
        self.decays, self.smoothing = tuple(decays), smoothing

    @property
    def width(self) -> int:
        """Width of the output."""
        return 5 * len(self.decays)

    def call(self, flags: tf.Tensor, play_time_ms: tf.Tensor) -> tf.Tensor:  # noqa: D102
        values = tf.concat([flags, log_seconds(play_time_ms)[..., tf.newaxis]], axis=-1) - self.priors  # [B, P, 4]
        plays = tf.shape(values)[1]
        after = tf.range(plays + 1)[:, tf.newaxis]
        play = tf.range(plays)[tf.newaxis, :]
        age = tf.cast(after - 1 - play, tf.float32)  # [P + 1, P], negative for plays that are still to come
        parts = []
        for decay in self.decays:
            weight = tf.where(age >= 0, tf.pow(decay, tf.maximum(age, 0.0)), 0.0)  # [P + 1, P]
            total = tf.reduce_sum(weight, axis=1)[tf.newaxis, :, tf.newaxis]  # [1, P + 1, 1]
            mean = tf.einsum("hp,bpv->bhv", weight, values) / (total + self.smoothing)  # [B, P + 1, 4]
            count = tf.broadcast_to(tf.math.log1p(total), tf.concat([tf.shape(mean)[:2], [1]], 0))
            parts += [mean, count]
        return tf.concat(parts, axis=-1)


class TargetNumbers(tf.keras.layers.Layer):
    """What a target's own columns say: duration, thresholds and how they stand to the user's usual watch time.

    Args:
        duration: Gives the log duration.
        thresholds: Gives log Q50 and log Q60 and, with a history, their distance to the user's mean log watch time.

    Call:
        duration_ms: int64 [B, N].  thresholds_ms: int64 [B, N, 2].
        mean_log_watch: [B, 1 or N, 1], or None without a history.
        Returns [B, N, width].
    """

    def __init__(self, duration: bool, thresholds: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.duration, self.thresholds = duration, thresholds

    def call(  # noqa: D102
        self, duration_ms: tf.Tensor, thresholds_ms: tf.Tensor, mean_log_watch: tf.Tensor | None = None
    ) -> tf.Tensor:
        parts = []
        if self.duration:
            parts.append(log_seconds(duration_ms)[..., tf.newaxis] - 3.0)
        if self.thresholds:
            logs = log_seconds(thresholds_ms)  # [B, N, 2]
            parts.append(logs - 2.0)
            if mean_log_watch is not None:
                parts.append(logs - mean_log_watch)
        return tf.concat(parts, axis=-1)


class SinceLastPlay(tf.keras.layers.Layer):
    """Log time since the user's last play, and whether there was one.

    Call:
        time_ms, last_time_ms: int64 [B, 1 or N]; last_time_ms is 0 where there is no play yet.
        Returns [B, N, 2].
    """

    def call(self, time_ms: tf.Tensor, last_time_ms: tf.Tensor) -> tf.Tensor:  # noqa: D102
        known = tf.cast(last_time_ms > 0, tf.float32)
        gap = log_seconds(time_ms - last_time_ms) / 10.0 * known
        return tf.stack([gap, known], axis=-1)


def log_odds(rates: Sequence[float]) -> list[float]:
    """``log(p / (1 - p))``, with the rates kept off 0 and 1."""
    p = np.clip(np.asarray(rates, np.float64), 1e-4, 1 - 1e-4)
    return [float(x) for x in np.log(p / (1 - p))]
