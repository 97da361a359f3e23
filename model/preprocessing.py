"""TFX Transform's ``preprocessing_fn``: vocabularies, and ids in place of strings.

An id is 0 for '' (padding, or unknown to the logs), 1 for a value outside the vocabulary, and 2 + its rank for every
other one. ``model.vocabularies`` computes the same ids inside the served graph, from the vocabulary files written here.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.features import FeatureSet
from model.settings import ModelRun

#: Ids that stand for no vocabulary entry: 0 is '', 1 is out of vocabulary.
RESERVED_IDS = 2

Tensors = dict[str, Any]


def vocabulary_name(feature: str) -> str:
    """The file name of a feature's vocabulary."""
    return f"vocabulary_{feature}"


def _sparse(tensor: Any) -> tf.SparseTensor:
    """The feature as [B, length], however the schema represents it."""
    if isinstance(tensor, tf.SparseTensor):
        return tensor
    if isinstance(tensor, tf.RaggedTensor):
        return tensor.to_sparse()
    dense = tf.reshape(tensor, [tf.shape(tensor)[0], -1])
    indices = tf.where(tf.ones_like(dense, tf.bool))  # from_dense would drop '' and 0
    return tf.SparseTensor(indices, tf.gather_nd(dense, indices), tf.shape(dense, out_type=tf.int64))


def _targets(sparse: tf.SparseTensor, is_target: tf.SparseTensor) -> tf.SparseTensor:
    """The values on plays that are targets: windows overlap, but each play is a target once, so it counts once."""
    return tf.sparse.retain(sparse, is_target.values > 0)


def preprocessing_fn(inputs: Tensors, custom_config: Tensors) -> Tensors:
    """Raw sequence examples → the same features, every string replaced by its id.

    Args:
        inputs: The raw features; lists as SparseTensors [B, P].
        custom_config: ``{"run": JSON of ModelRun}``.

    Returns:
        The context features as int64 [B, 1] and the per-play features as sparse int64 [B, P].
    """
    run = ModelRun.model_validate_json(custom_config["run"])
    features = FeatureSet(tuple(run.profile_columns), tuple(run.video_columns))
    counts = run.model.vocabulary_counts
    is_target = _sparse(inputs["is_target"])
    per_play = {f.name for f in features.plays}

    outputs: Tensors = {}
    for name in features.categorical:
        values = _sparse(inputs[name])
        # A context feature stands once per example, for as many plays as the example has targets.
        counted = _targets(values, is_target) if name in per_play else _per_target(values, is_target)
        vocabulary = tft.vocabulary(
            counted,
            frequency_threshold=getattr(counts, name, counts.other),
            vocab_filename=vocabulary_name(name),
            fingerprint_shuffle=False,
        )
        ids = tft.apply_vocabulary(values, vocabulary, default_value=-1)
        known = tf.cast(ids.values, tf.int64) + RESERVED_IDS
        missing = values.values == ""
        outputs[name] = values.with_values(tf.where(missing, tf.zeros_like(known), tf.maximum(known, 1)))
    for feature in features.plays:
        if feature.dtype == "int64":
            outputs[feature.name] = _sparse(inputs[feature.name])
    return outputs


def _per_target(context: tf.SparseTensor, is_target: tf.SparseTensor) -> tf.SparseTensor:
    """The context value [B, 1] repeated for every target of its example."""
    dense = tf.sparse.to_dense(context, default_value="")[:, 0]  # [B]
    rows = tf.boolean_mask(is_target.indices[:, 0], is_target.values > 0)  # [targets]
    indices = tf.stack([tf.range(tf.size(rows, out_type=tf.int64)), tf.zeros_like(rows)], axis=1)
    shape = tf.stack([tf.size(rows, out_type=tf.int64), 1])
    return tf.SparseTensor(indices, tf.gather(dense, rows), shape)
