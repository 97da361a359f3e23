"""Section 2.4.1: joint training, one ``tfrs.tasks.Ranking`` per task."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from components.features import FLAGS
from model.losses import TaskWeights, bpr_pairs
from model.negatives import UnobservedVideos
from model.network import Network
from model.settings import Training

Batch = dict[str, dict[str, tf.Tensor]]


class JointModel(tfrs.models.Model):
    """``L = Σ_k λ_k L_k`` over the tasks, with sparse updates of the embedding tables.

    L_k is the mean log loss over the targets and whatever negatives the settings add, or BPR: the log loss on the
    difference between the logits of a positive and a negative.

    Args:
        network: What is trained.
        settings: Loss, λ, negatives and optimizers.
        total_steps: Steps over which the dense learning rate decays.
        unobserved: Draws random negatives; needed unless ``negatives`` is ``exposed``.
    """

    def __init__(
        self, network: Network, settings: Training, total_steps: int, unobserved: UnobservedVideos | None = None
    ):
        super().__init__()
        if (settings.negatives != "exposed") != (unobserved is not None):
            raise ValueError(f"negatives {settings.negatives!r} and the catalogue to draw from do not fit together.")
        self.network, self.settings, self.unobserved = network, settings, unobserved
        self.tracked = network.trackable
        self.task_weights = TaskWeights(
            [settings.weights[flag] for flag in FLAGS], settings.task_weights == "adaptive", name="task_weights"
        )
        self.ranking_tasks = [
            tfrs.tasks.Ranking(
                loss=tf.keras.losses.BinaryCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.SUM),
                metrics=[tf.keras.metrics.AUC(from_logits=True, name=f"auc_{flag}")],
                name=f"task_{flag}",
            )
            for flag in FLAGS
        ]
        self.loss_means = [tf.keras.metrics.Mean(name=f"loss_{flag}") for flag in FLAGS]
        steps = settings.optimizers
        # Embedding gradients are IndexedSlices: Adagrad touches their rows and nothing else.
        self.embedding_optimizer = tf.keras.optimizers.Adagrad(steps.embedding_rate, initial_accumulator_value=0.1)
        decay = tf.keras.optimizers.schedules.CosineDecay(steps.dense_rate, max(1, total_steps))
        self.dense_optimizer = tf.keras.optimizers.AdamW(decay, weight_decay=steps.weight_decay)
        self.dense_optimizer.exclude_from_weight_decay(var_names=["bias", "norm_", "position", "start"])
        self._embedding_ids = {id(v) for v in network.embedding_variables}

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """The joint loss of a batch of windows (``model.batches.padded_batches``)."""
        context, plays = inputs["context"], inputs["plays"]
        is_target = tf.cast(plays["is_target"], tf.float32)  # [B, P], 0 on padding
        states = self.network.states_before(plays, training)
        logits = self.network.predict(context, plays, plays, states, training)["logits"]  # [B, P, K]
        drawn = self._drawn(context, plays, states, training) if self.unobserved is not None else None
        losses = []
        for k, (flag, task) in enumerate(zip(FLAGS, self.ranking_tasks, strict=True)):
            labels = tf.cast(plays[flag], tf.float32)
            exposed = task(_flat(labels), _flat(logits[..., k]), sample_weight=_flat(is_target))
            terms = []  # (sum of log losses, sum of weights)
            if self.settings.loss == "logloss":
                if self.settings.negatives == "random":  # unflagged impressions are no negatives then
                    terms.append(self._sum(task, labels, logits[..., k], labels * is_target))
                else:
                    terms.append((exposed, tf.reduce_sum(is_target)))
            elif self.settings.negatives != "random":
                difference, weight = bpr_pairs(logits[..., k], labels, is_target)
                terms.append(self._sum(task, tf.ones_like(weight), difference, weight))
            if drawn is not None:
                logit, weight = drawn[0][..., k], drawn[1] * (labels * is_target)[..., tf.newaxis]  # [B, P, R]
                if self.settings.loss == "logloss":
                    terms.append(self._sum(task, tf.zeros_like(weight), logit, weight))
                else:
                    terms.append(self._sum(task, tf.ones_like(weight), logits[..., k, tf.newaxis] - logit, weight))
            total, count = (tf.add_n(parts) for parts in zip(*terms, strict=True))
            losses.append(total / tf.maximum(count, 1.0))
        for mean, loss in zip(self.loss_means, losses, strict=True):
            mean.update_state(loss)
        stacked = tf.stack(losses)  # [K]
        weights = self.task_weights(stacked, training=training)
        return tf.reduce_sum(weights * stacked)

    def _drawn(self, context: Any, plays: Any, states: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, P, R, K] and weights [B, P, R] of R random videos in the place of each target."""
        assert self.unobserved is not None
        r = self.unobserved.per_target
        videos, weight = self.unobserved.draw(plays["video_id"])  # [B, P · R]
        repeated = {name: tf.repeat(value, r, axis=1) for name, value in states.items()}
        moment = {name: tf.repeat(plays[name], r, axis=1) for name in ("platform", "time_ms")}
        logits = self.network.predict(context, moment, videos, repeated, training)["logits"]
        shape = tf.concat([tf.shape(plays["video_id"]), [r]], 0)
        return tf.reshape(logits, tf.concat([shape, [len(FLAGS)]], 0)), tf.reshape(weight, shape)

    @staticmethod
    def _sum(task: Any, labels: tf.Tensor, logits: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flat = _flat(labels), _flat(logits), _flat(weight)
        total = task(*flat[:2], sample_weight=flat[2], compute_metrics=False)
        return total, tf.reduce_sum(weight)

    def train_step(self, inputs: Batch) -> dict[str, tf.Tensor]:
        """One step of both optimizers."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
            # The optimizers add up the replicas' gradients.
            scaled = loss / tf.distribute.get_strategy().num_replicas_in_sync
        variables = self.trainable_variables
        pairs = [(g, v) for g, v in zip(tape.gradient(scaled, variables), variables, strict=True) if g is not None]
        self.embedding_optimizer.apply_gradients([(g, v) for g, v in pairs if id(v) in self._embedding_ids])
        dense = [(g, v) for g, v in pairs if id(v) not in self._embedding_ids]
        clipped, _ = tf.clip_by_global_norm([g for g, _ in dense], self.settings.optimizers.clip_norm)
        self.dense_optimizer.apply_gradients(zip(clipped, [v for _, v in dense], strict=True))
        return {**{m.name: m.result() for m in self.metrics}, "loss": loss}

    def test_step(self, inputs: Batch) -> dict[str, tf.Tensor]:
        """The loss and the metrics of one batch."""
        loss = self.compute_loss(inputs, training=False)
        return {**{m.name: m.result() for m in self.metrics}, "loss": loss}


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, 1])
