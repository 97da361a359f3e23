"""The network: sections 2.1 to 2.3 put together as two functional Keras models that share their layers.

``history`` reads a user's plays and gives a state after every one of them; ``predictor`` reads a user, a state and
target videos and gives logits. In training every target of a window has its own state (N = P); a ranking request has
one state for all its candidates, and everything that is the user's alone is computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from components.features import FLAGS, FeatureSet
from model.context import ContextGate, SlotImportance
from model.dense import BroadcastConcat
from model.embeddings import SumEmbedding, table
from model.encoder import Encoder
from model.prediction import SharedExperts, TaskTowers
from model.settings import ModelRun
from model.signals import (
    DAY_HOURS,
    HistoryStatistics,
    SinceLastPlay,
    TargetNumbers,
    TokenNumbers,
    hour_of_day,
    log_odds,
)
from model.thresholds import Thresholds, feedback_flags

Tensors = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Population:
    """Means over the training targets, for priors and first biases.

    Attributes:
        rates: Share of plays with each flag [K].
        log_watch: Mean of log(1 + seconds watched).
    """

    rates: tuple[float, float, float]
    log_watch: float


class Network:
    """The network of one configuration.

    Args:
        run: Settings.
        rows: Embedding rows of each categorical feature.
        thresholds: The watch-time thresholds.
        population: Means of the training data.

    Attributes:
        history: Functional model, plays [B, P] → states [B, P + 1, ·]; None for ``encoder: none``.
        predictor: Functional model, user [B, 1], state and moment [B, 1 or N] and targets [B, N] → logits [B, N, K].
    """

    def __init__(self, run: ModelRun, rows: Mapping[str, int], thresholds: Thresholds, population: Population):
        self.run, self.settings = run, run.model
        self.features = FeatureSet(tuple(run.profile_columns), tuple(run.video_columns))
        self.rows, self.population = rows, population
        self.thresholds = thresholds
        columns = self.features.video_columns if self.settings.item_embedding == "video_columns" else ()
        self.item_columns = ("video_id", *columns)
        d = self.settings.embedding_dim
        self.item = SumEmbedding([rows[c] for c in self.item_columns], d, name="e_i")
        self.user = table(rows["user_id"], d, "e_u")
        self.platform = table(rows["platform"], d, "e_p")
        self.history = self._history() if self.settings.encoder != "none" else None
        self.predictor = self._predictor()

    # --- section 2.1 ----------------------------------------------------------------------------------------------

    def _history(self) -> tf.keras.Model:
        s = self.settings
        plays = {c: _ids(c) for c in self.item_columns}
        plays |= {n: _ids(n) for n in ("duration_ms", "time_ms", "play_time_ms")}
        is_history = tf.keras.Input([None], dtype=tf.bool, name="is_history")

        limits = self.thresholds(plays["video_id"], plays["duration_ms"])  # [B, P, 2]
        flags = feedback_flags(plays["play_time_ms"], limits)  # [B, P, 3]
        carried = [float(flag in s.encoder_flags) for flag in FLAGS]
        numbers = TokenNumbers(carried, s.token_watch, s.token_gap, name="token_numbers")(
            flags, plays["play_time_ms"], plays["duration_ms"], plays["time_ms"]
        )
        tokens = tf.concat([self.item([plays[c] for c in self.item_columns]), numbers], axis=-1)  # [B, P, d + 3 + …]
        encoder = Encoder(
            s.embedding_dim,
            2 * self.run.history_length,
            s.encoder_blocks,
            s.ffn_units,
            s.attention == "causal",
            s.dropout,
            name="encoder",
        )
        states = {"e_h": encoder(tokens, is_history)}  # [B, P + 1, width]
        if s.history_statistics:
            # A channel the encoder does not carry must not come in through its running rate.
            shown = flags * tf.constant(carried)
            priors = [r * c for r, c in zip(self.population.rates, carried, strict=True)] + [self.population.log_watch]
            watch = plays["play_time_ms"]
            states["statistics"] = HistoryStatistics(priors, name="statistics")(shown, watch)
        if s.context_time:
            states["last_time_ms"] = tf.pad(plays["time_ms"], [[0, 0], [1, 0]])[..., tf.newaxis]  # [B, P + 1, 1]
        return tf.keras.Model({**plays, "is_history": is_history}, states, name="history")

    def states(self, plays: Tensors, training: bool = False) -> dict[str, tf.Tensor]:
        """States [B, P + 1, ·] after 0, 1, … P plays; empty without an encoder.

        Args:
            plays: Ids and numbers [B, P] of the plays, and ``is_history`` bool [B, P].
            training: Whether dropout is on.
        """
        return dict(self.history(_pick(self.history, plays), training=training)) if self.history is not None else {}

    def states_before(self, plays: Tensors, training: bool = False) -> dict[str, tf.Tensor]:
        """The state before every play of a window [B, P, ·]; arguments as in ``states``."""
        return {name: value[:, :-1] for name, value in self.states(plays, training).items()}

    # --- sections 2.2 and 2.3 -------------------------------------------------------------------------------------

    def _predictor(self) -> tf.keras.Model:
        s = self.settings
        user = {c: _ids(c, 1) for c in ("user_id", *self.features.profile_columns)}
        moment = {c: _ids(c) for c in ("platform", "time_ms")}
        target = {c: _ids(c) for c in ("video_id", *self.features.video_columns, "duration_ms")}
        state = {}
        if self.history is not None:
            for name, output in self.history.output.items():
                state[name] = tf.keras.Input([None, output.shape[-1]], dtype=output.dtype, name=name)

        who_what_where = [
            self.user(user["user_id"]),  # [B, 1, d]
            self.item([target[c] for c in self.item_columns]),  # [B, N, d]
            self.platform(moment["platform"]),  # [B, 1 or N, d]
        ]
        e_in = BroadcastConcat(name="e_in")(self._context(user, moment, target, state, who_what_where))  # [B, N, D]
        e_trans = ContextGate(s.gate_identity, name="gate")(e_in, who_what_where)
        slots = s.slots or e_in.shape[-1] // s.feature_dim
        e_tilde = SlotImportance(slots, name="slots")(e_trans, who_what_where)  # [B, N, D]

        x = [e_tilde] + ([state["e_h"]] if state else [])
        mixed, gates = SharedExperts(s.experts, s.expert_units, len(FLAGS), s.dropout, name="experts")(x)
        logits = TaskTowers(s.tower_units, log_odds(self.population.rates), name="towers")(mixed)  # [B, N, K]
        inputs = {**user, **moment, **target, **state}
        return tf.keras.Model(inputs, {"logits": logits, "gates": gates}, name="predictor")

    def _context(
        self, user: Tensors, moment: Tensors, target: Tensors, state: Tensors, embeddings: Sequence[Any]
    ) -> list[Any]:
        """The context features of E_in, each [B, 1 or N, feature_dim]."""
        s = self.settings

        def embedded(name: str, ids: Any, rows: int) -> Any:
            return table(rows, s.feature_dim, f"context_{name}")(ids)

        def projected(name: str, numbers: Any) -> Any:
            hidden = tf.keras.layers.Dense(4 * s.feature_dim, activation="relu", name=f"context_{name}_hidden")(numbers)
            return tf.keras.layers.Dense(s.feature_dim, name=f"context_{name}")(hidden)

        parts = [embedded(c, user[c], self.rows[c]) for c in self.features.profile_columns]
        columns = self.features.video_columns if s.context_video is None else s.context_video
        parts += [embedded(c, target[c], self.rows[c]) for c in columns]
        if s.context_ids:
            for name, embedding in zip(("user", "video", "platform"), embeddings, strict=True):
                parts.append(tf.keras.layers.Dense(s.feature_dim, name=f"context_{name}_id")(embedding))
        if s.context_duration or s.context_thresholds:
            limits = self.thresholds(target["video_id"], target["duration_ms"])
            arguments = [target["duration_ms"], limits]
            if "statistics" in state:
                arguments.append(state["statistics"][..., 3:4] + self.population.log_watch)
            numbers = TargetNumbers(s.context_duration, s.context_thresholds, name="target_numbers")(*arguments)
            parts.append(projected("target", numbers))
        if s.context_time:
            parts.append(embedded("hour", hour_of_day(moment["time_ms"], self.run.utc_offset_ms), DAY_HOURS))
        if "last_time_ms" in state:
            gap = SinceLastPlay(name="since_last_play")(moment["time_ms"], state["last_time_ms"][..., 0])
            parts.append(projected("gap", gap))
        if "statistics" in state:
            parts.append(projected("statistics", state["statistics"]))
        return parts

    def predict(
        self, user: Tensors, moment: Tensors, target: Tensors, state: Tensors, training: bool = False
    ) -> dict[str, tf.Tensor]:
        """``logits`` [B, N, K] and ``gates`` [B, N, K, M]; arguments as in the class docstring."""
        inputs = {**state, **target, **{n: moment[n] for n in ("platform", "time_ms")}, **user}
        return dict(self.predictor(_pick(self.predictor, inputs), training=training))

    def window(self, context: Tensors, plays: Tensors) -> tf.Tensor:
        """Logits [B, P, K] of every play of a window, each from the plays before it.

        Args:
            context: Ids [B, 1].
            plays: Ids and numbers [B, P].
        """
        return self.predict(context, plays, plays, self.states_before(plays))["logits"]

    @property
    def trackable(self) -> list[tf.keras.Model]:
        """The Keras models that hold the variables."""
        return [self.predictor] + ([self.history] if self.history is not None else [])

    @property
    def embedding_variables(self) -> list[tf.Variable]:
        """The embedding tables, which take the sparse optimizer."""
        layers = [layer for model in self.trackable for layer in model._flatten_layers(include_self=False)]
        tables = [layer.embeddings for layer in layers if isinstance(layer, tf.keras.layers.Embedding)]
        return list({id(v): v for v in tables}.values())


def window_masks(plays: Tensors) -> dict[str, tf.Tensor]:
    """Which plays of padded windows are real (``mask``) and which of those are no targets (``is_history``).

    Args:
        plays: Ids and numbers [B, P], 0 on padding.

    Returns:
        bool [B, P] each.
    """
    mask = plays["video_id"] > 0  # a play always has a video
    return {"mask": mask, "is_history": tf.logical_and(mask, tf.equal(plays["is_target"], 0))}


def _ids(name: str, length: int | None = None) -> Any:
    return tf.keras.Input([length], dtype=tf.int64, name=name)


def _pick(model: tf.keras.Model, tensors: Tensors) -> dict[str, Any]:
    """The inputs that ``model`` has: a preset may leave some out."""
    return {name: tensors[name] for name in model.input}
