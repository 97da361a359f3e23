"""A tiny model and its data: random, but real in every part."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.features import FLAGS, FeatureSet
from components.watch_time_quantiles.table import QuantileTable
from model.batches import Summary, Windows, read_windows, summarise
from model.network import Network
from model.settings import ModelRun
from model.trainer import build
from model.vocabularies import Vocabularies

VALUES = 30  # entries of every vocabulary
PROFILE = ["age_band"]
FEATURES = FeatureSet.of(PROFILE, ["music_id"])


@dataclasses.dataclass
class Tiny:
    run: ModelRun
    vocabularies: Vocabularies
    table: QuantileTable
    windows: Windows
    summary: Summary
    network: Network
    plays: list[dict[str, Any]]

    def raw(self) -> list[bytes]:
        return [serialise(example, ids=False) for example in self.plays]


def make_examples(count: int, run: ModelRun, seed: int = 1) -> list[dict[str, Any]]:
    """Random examples: context values as ints, per-play columns as int lists."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        length = int(rng.integers(1, run.max_prefix + 2))
        example: dict[str, Any] = {f.name: int(rng.integers(VALUES)) for f in FEATURES.context}
        example["video_id"] = rng.integers(0, VALUES, length)
        for f in FEATURES.plays:
            if f.name == "video_id":
                continue
            if f.name in FEATURES.video_columns:
                # A video has one author, category, ...: else a drawn negative would betray itself by its columns.
                example[f.name] = (example["video_id"] * 7 + len(f.name)) % VALUES
            elif f.name == "duration_ms":
                example[f.name] = 1_000 + example["video_id"] * 2_000
            elif f.dtype == "bytes":
                example[f.name] = rng.integers(0, VALUES, length)
            elif f.name == "time_ms":
                example[f.name] = 1_650_000_000_000 + np.cumsum(rng.integers(1_000, 10_000_000, length))
            elif f.name == "play_time_ms":
                # Skips depend on the video, so that there is something to learn.
                example[f.name] = np.where(example["video_id"] % 2, 1_500, rng.integers(3_000, 60_000, length))
        example["gvv"] = (example["play_time_ms"] < 3_000).astype(int)
        example["evv"] = example["fvv"] = 1 - example["gvv"]
        example["is_target"] = np.zeros(length, int)
        example["is_target"][-run.targets_per_example :] = 1
        examples.append(example)
    return examples


def serialise(example: dict[str, Any], ids: bool) -> bytes:
    """A tf.Example: transformed ids, or the raw strings."""
    features = {}
    for f in FEATURES.example:
        values = np.atleast_1d(example[f.name])
        if f.dtype == "int64":
            features[f.name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        elif not ids:
            text = [f"{f.name[0]}{v}".encode() for v in values]
            features[f.name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=text))
        elif f.name != "example_id":
            features[f.name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values + 2))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def make_tiny(folder: Path, count: int = 200, **settings: Any) -> Tiny:
    run = ModelRun(
        profile_columns=PROFILE,
        video_columns=list(FEATURES.video_columns),
        history_length=settings.pop("history_length", 6),
        targets_per_example=settings.pop("targets_per_example", 6),
        **settings,
    )
    files = {}
    for name in FEATURES.categorical:
        files[name] = str(folder / f"vocabulary_{name}")
        Path(files[name]).write_text("".join(f"{name[0]}{i}\n" for i in range(VALUES)))
    vocabularies = Vocabularies(files)
    examples = make_examples(count, run)
    path = str(folder / "examples.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for example in examples:
            writer.write(serialise(example, ids=True))
    table = QuantileTable(
        edges_ms=np.array([3_000, 10_000, 30_000]),
        bucket_ms=np.array([[1_000, 2_000], [3_000, 5_000], [8_000, 9_000], [20_000, 30_000]]),
        global_ms=np.array([5_000, 6_000]),
        video_id=np.array(["v1", "v3"], object),
        video_ms=np.array([[4_000, 6_000], [7_000, 9_000]]),
        video_plays=np.array([30, 40]),
    )
    windows = read_windows([path], FEATURES)
    summary = summarise(windows, vocabularies.size("video_id"))
    tf.keras.utils.set_random_seed(3)
    network = build(run, vocabularies, table, summary)
    return Tiny(run, vocabularies, table, windows, summary, network, examples)


@pytest.fixture(scope="session")
def make(tmp_path_factory):
    """Makes a tiny model: ``make(**ModelRun fields)``."""
    return lambda **settings: make_tiny(tmp_path_factory.mktemp("tiny"), **settings)


@pytest.fixture(scope="session")
def tiny(make):
    return make()


@pytest.fixture(scope="session")
def flags():
    return FLAGS
