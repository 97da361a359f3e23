"""TFX Trainer's ``run_fn``: from transformed examples to an exported model."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.features import FeatureSet
from components.watch_time_quantiles.table import QuantileTable
from model.batches import Summary, Windows, count_batches, padded_batches, read_windows, summarise
from model.export import ServedModel
from model.joint import JointModel
from model.negatives import UnobservedVideos, logit_correction
from model.network import Network
from model.settings import ModelRun
from model.thresholds import Thresholds
from model.vocabularies import Vocabularies

#: File in the model-run folder that holds the learning curves.
HISTORY_FILE = "history.json"


def strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine when there are several, else the default device."""
    return (
        tf.distribute.MirroredStrategy()
        if len(tf.config.list_physical_devices("GPU")) > 1
        else tf.distribute.get_strategy()
    )


def build(run: ModelRun, vocabularies: Vocabularies, table: QuantileTable, summary: Summary) -> Network:
    """The untrained network for these vocabularies, thresholds and population."""
    features = FeatureSet(tuple(run.profile_columns), tuple(run.video_columns))
    thresholds = Thresholds.of(table, vocabularies.values["video_id"])
    rows = {name: vocabularies.size(name) for name in features.categorical}
    return Network(run, rows, thresholds, summary.population)


def train(run: ModelRun, network: Network, windows: Windows, summary: Summary, **fit: Any) -> JointModel:
    """Fits the network to the training windows.

    Args:
        run: Settings.
        network: From ``build``.
        windows: The training windows.
        summary: Of the training windows.
        fit: Passed on to Keras' ``fit``.

    Returns:
        The joint model; ``joint.history`` holds the curves.
    """
    settings = run.training
    steps = count_batches(windows, settings.plays_per_batch) * settings.epochs
    unobserved = None
    if settings.negatives != "exposed":
        unobserved = UnobservedVideos(summary.catalogue, settings.random_negatives, settings.seed)
    joint = JointModel(network, settings, steps, unobserved)
    joint.compile()
    batches = padded_batches(windows, settings.plays_per_batch, settings.seed)
    joint.fit(batches, epochs=settings.epochs, **fit)
    return joint


def run_fn(fn_args: Any) -> None:
    """Trains and exports. ``fn_args.custom_config``: ``run`` (JSON of ModelRun) and ``quantiles`` (artifact folder)."""
    run = ModelRun.model_validate_json(fn_args.custom_config["run"])
    tf.keras.utils.set_random_seed(run.training.seed)
    features = FeatureSet(tuple(run.profile_columns), tuple(run.video_columns))
    vocabularies = Vocabularies.from_transform(tft.TFTransformOutput(fn_args.transform_output), features.categorical)
    windows = read_windows(_files(fn_args.train_files), features)
    summary = summarise(windows, vocabularies.size("video_id"))
    logging.info("Training on %d plays.", summary.targets)

    with strategy().scope():
        network = build(run, vocabularies, QuantileTable.load(fn_args.custom_config["quantiles"]), summary)
        board = tf.keras.callbacks.TensorBoard(fn_args.model_run_dir, write_graph=False)
        joint = train(run, network, windows, summary, callbacks=[board], verbose=1 if sys.stderr.isatty() else 2)
        curves = {name: [float(x) for x in values] for name, values in joint.history.history.items()}
    held_out = padded_batches(read_windows(_files(fn_args.eval_files), features), run.training.plays_per_batch, None)
    evaluation = joint.evaluate(held_out, return_dict=True, verbose=0)
    with tf.io.gfile.GFile(os.path.join(fn_args.model_run_dir, HISTORY_FILE), "w") as file:
        json.dump({"train": curves, "eval": {n: float(v) for n, v in evaluation.items()}}, file, indent=1)

    correction = [
        logit_correction(rate, run.training.negatives, run.training.random_negatives)
        for rate in summary.population.rates
    ]
    ServedModel(network, vocabularies, correction).save(fn_args.serving_model_dir)


def _files(patterns: list[str]) -> list[str]:
    return [path for pattern in patterns for path in tf.io.gfile.glob(pattern)]
