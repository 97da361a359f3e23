"""The served signatures: ``rank``, ``rank_with_weights`` and ``serving_default``, of stock ops only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from components.features import FLAGS, FeatureSet
from model.fusion import fuse, top_candidates
from model.network import Network, window_masks
from model.vocabularies import Vocabularies

DTYPES = {"bytes": tf.string, "int64": tf.int64}
SHAPES = {"B": [None], "BH": [None, None], "BN": [None, None]}


class ServedModel(tf.Module):
    """A trained network behind the signatures of the design.

    Args:
        network: The trained network.
        vocabularies: The ids of its categorical features.
        logit_correction: What sampling negatives did to each task's logits [K] (``negatives.logit_correction``).
    """

    def __init__(self, network: Network, vocabularies: Vocabularies, logit_correction: Sequence[float]):
        super().__init__(name="served_model")
        self.network_models = network.trackable
        self.thresholds = network.thresholds
        self.vocabularies = vocabularies
        self._network = network
        self._features: FeatureSet = network.features
        self._run = network.run
        self.logit_correction = tf.Variable(list(logit_correction), trainable=False, dtype=tf.float32)
        weights = self._run.serving.fusion_weights.as_list()
        self.fusion_weights = tf.Variable(weights, trainable=False, dtype=tf.float32)

    def save(self, folder: str) -> None:
        """Writes the SavedModel."""
        rank_inputs = {
            i.name: tf.TensorSpec(SHAPES[i.axes], DTYPES[i.dtype], name=i.name) for i in self._features.rank_inputs
        }
        weights = tf.TensorSpec([len(FLAGS)], tf.float32, name="fusion_weights")
        examples = tf.TensorSpec([None], tf.string, name="examples")
        signatures = {
            "rank": tf.function(self.rank).get_concrete_function(**rank_inputs),
            "rank_with_weights": tf.function(self.rank_with_weights).get_concrete_function(
                fusion_weights=weights, **rank_inputs
            ),
            "serving_default": tf.function(self.score_examples).get_concrete_function(examples=examples),
        }
        tf.saved_model.save(self, folder, signatures=signatures)

    # --- signatures -----------------------------------------------------------------------------------------------

    def rank(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The ``rank`` signature: candidates [B, N] in, ranked lists [B, L] out."""
        return self._ranked(inputs, self.fusion_weights)

    def rank_with_weights(self, fusion_weights: tf.Tensor, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """``rank`` with fusion weights γ [3] (evv, fvv, gvv) from the request; NaN or infinite ones are refused."""
        checked = tf.debugging.check_numerics(fusion_weights, "fusion_weights must be finite")
        return self._ranked(inputs, checked)

    def score_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The ``serving_default`` signature: raw sequence tf.Examples [B] → probabilities [B, P], 0 on padding."""
        context, plays = self._parse(examples)
        plays |= window_masks(plays)
        probabilities = self._probabilities(self._network.window(context, plays))  # [B, P, K]
        probabilities *= tf.cast(plays["mask"], tf.float32)[..., tf.newaxis]
        score = fuse(probabilities, self.fusion_weights)
        return {**dict(zip(FLAGS, tf.unstack(probabilities, axis=-1), strict=True)), "score": score}

    # --- what they share ------------------------------------------------------------------------------------------

    def _probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(logits + self.logit_correction)

    def _ids(self, feature: str, values: tf.Tensor) -> tf.Tensor:
        return self.vocabularies.ids(feature, values) if values.dtype == tf.string else values

    def _parse(self, examples: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Context ids [B, 1] and per-play ids and numbers [B, P]; flags are not read but computed."""
        context = [f for f in self._features.context if f.name != "example_id"]
        plays = [f for f in self._features.plays if f.name not in FLAGS]
        spec: dict[str, Any] = {
            f.name: tf.io.FixedLenFeature([1], DTYPES[f.dtype], default_value=[b""]) for f in context
        }
        spec |= {f.name: tf.io.RaggedFeature(DTYPES[f.dtype], row_splits_dtype=tf.int64) for f in plays}
        parsed = tf.io.parse_example(examples, spec)
        return (
            {f.name: self._ids(f.name, parsed[f.name]) for f in context},
            {f.name: self._ids(f.name, parsed[f.name].to_tensor()) for f in plays},
        )

    def _history(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The newest plays of each history, without gaps: ids and numbers [B, P], and the number of plays [B]."""
        ids = {i.feature: self._ids(i.feature, inputs[i.name]) for i in self._features.rank_inputs if i.axes == "BH"}
        real = inputs["history_video_id"] != ""  # [B, H]
        order = tf.argsort(tf.cast(tf.logical_not(real), tf.int32), axis=1, stable=True)  # the real plays first
        length = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)  # [B]
        kept = tf.minimum(length, self._run.max_prefix)
        width = tf.minimum(tf.shape(real)[1], self._run.max_prefix)
        places = (length - kept)[:, tf.newaxis] + tf.range(width)  # [B, P]
        places = tf.gather(order, tf.minimum(places, tf.maximum(tf.shape(real)[1] - 1, 0)), batch_dims=1)
        plays = {name: tf.gather(value, places, batch_dims=1) for name, value in ids.items()}
        plays["is_history"] = tf.range(width)[tf.newaxis, :] < kept[:, tf.newaxis]
        return plays, kept

    def _ranked(self, inputs: Mapping[str, tf.Tensor], weights: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self._features
        user = {n: self._ids(n, inputs[n])[:, tf.newaxis] for n in ("user_id", *features.profile_columns)}
        moment = {
            "platform": self._ids("platform", inputs["platform"])[:, tf.newaxis],
            "time_ms": inputs["request_time_ms"][:, tf.newaxis],
        }
        target = {i.feature: self._ids(i.feature, inputs[i.name]) for i in features.rank_inputs if i.axes == "BN"}
        plays, length = self._history(inputs)
        states = self._network.states(plays)
        state = {n: tf.gather(v, length[:, tf.newaxis], batch_dims=1) for n, v in states.items()}  # [B, 1, ·]
        logits = self._network.predict(user, moment, target, state)["logits"]  # [B, N, K]
        probabilities = self._probabilities(logits)

        video_id = inputs["candidate_video_id"]
        real = video_id != ""
        score, places = top_candidates(fuse(probabilities, weights), real, self._run.serving.list_length)
        ranked = tf.gather(
            probabilities * tf.cast(real, tf.float32)[..., tf.newaxis], places, batch_dims=1
        )  # [B, L, K]
        return {
            "video_id": tf.gather(video_id, places, batch_dims=1),
            "score": score,
            **dict(zip(FLAGS, tf.unstack(ranked, axis=-1), strict=True)),
        }
