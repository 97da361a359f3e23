"""Small play logs, their settings, and both components run over them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.settings import Components

DAY_MS = 86_400_000
#: The window of the small logs: ten days for training, two for evaluation.
WINDOW = {"train_from": "2024-01-01", "evaluate_from": "2024-01-11", "evaluate_to": "2024-01-13"}
START_MS = 1_704_067_200_000  # 2024-01-01 UTC


def make_settings(root: Path, files: Any = "plays.csv", **changes: Any) -> Components:
    """Settings for a log in ``root``; keys of Components besides ``data`` are taken out of ``changes``."""
    parts = {k: changes.pop(k) for k in ("quantiles", "sequences", "num_buckets") if k in changes}
    files = [files] if isinstance(files, str) else files
    data = {
        "root": str(root),
        "plays": {"files": [f"{{root}}/{f}" for f in files], **changes.pop("plays", {})},
        "window": WINDOW,
        **changes,
    }
    return Components.model_validate({"data": data, "num_buckets": 3, **parts})


def make_log(plays: int = 400, users: int = 13, videos: int = 7, seed: int = 0) -> pd.DataFrame:
    """Random plays in the window, with ties in time and repeated deliveries."""
    rng = np.random.default_rng(seed)
    hours = rng.integers(0, 12 * 24, plays)
    log = pd.DataFrame(
        {
            "user_id": rng.integers(0, users, plays).astype(str),
            "video_id": rng.integers(0, videos, plays).astype(str),
            "time_ms": START_MS + hours * 3_600_000,
            "play_time_ms": rng.integers(0, 20_000, plays),
            "duration_ms": rng.integers(1_000, 90_000, plays),
            "platform": rng.choice(["main", "friends", "grid"], plays),
        }
    )
    return pd.concat([log, log.iloc[: plays // 10].assign(play_time_ms=lambda d: d.play_time_ms // 2)])


@dataclasses.dataclass
class Output:
    """What the two components wrote."""

    table: Any
    examples: dict[str, list[bytes]]
    counts: Any
    bad: pd.DataFrame
    folder: Path

    def decoded(self, split: str) -> list[dict[str, list[Any]]]:
        import tensorflow as tf

        rows = []
        for raw in self.examples[split]:
            features = tf.train.Example.FromString(raw).features.feature
            rows.append(
                {
                    name: [v.decode() for v in f.bytes_list.value] if f.HasField("bytes_list") else
                    list(f.int64_list.value)
                    for name, f in features.items()
                }
            )  # fmt: skip
        return rows

    def plays(self, split: str, features: list[str]) -> pd.DataFrame:
        """One row per target."""
        columns: dict[str, list[Any]] = {name: [] for name in features}
        for example in self.decoded(split):
            is_target = example["is_target"]
            for name, values in columns.items():
                own = example[name] if len(example[name]) == len(is_target) else example[name] * len(is_target)
                values += [value for value, target in zip(own, is_target, strict=True) if target]
        return pd.DataFrame(columns)


def run_components(settings: Components, out: Path, beam_args: tuple[str, ...] = ()) -> Output:
    """Runs both executors as TFX does."""
    import tensorflow as tf
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    from components import artifacts
    from components.play_log.counts import Counts
    from components.play_sequences.executor import Executor as Sequences
    from components.watch_time_quantiles.executor import Executor as Quantiles
    from components.watch_time_quantiles.table import QuantileTable

    def artifact(kind: Any, name: str) -> Any:
        made = kind()
        made.uri = str(out / name)
        (out / name).mkdir(parents=True)
        return made

    context = BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args))
    properties = {"settings": settings.model_dump_json()}
    quantiles = artifact(artifacts.WatchTimeQuantiles, "quantiles")
    examples, quarantine = artifact(standard_artifacts.Examples, "examples"), artifact(artifacts.Quarantine, "bad")
    Quantiles(context).Do({}, {"quantiles": [quantiles]}, properties)
    Sequences(context).Do({"quantiles": [quantiles]}, {"examples": [examples], "quarantine": [quarantine]}, properties)
    assert json.loads(examples.split_names) == ["train", "eval"]
    counts = Counts.from_json(quarantine.get_string_custom_property("counts"))
    assert counts == Counts.from_json((out / "bad" / "counts.json").read_text())
    records = {}
    for split in ("train", "eval"):
        files = sorted((out / "examples" / f"Split-{split}").iterdir())
        assert all(f.name.startswith("data_tfrecord-") and f.suffix == ".gz" for f in files)
        dataset = tf.data.TFRecordDataset([str(f) for f in files], compression_type="GZIP")
        records[split] = list(dataset.as_numpy_iterator())
    bad = pd.concat(pd.read_parquet(f) for f in (out / "bad").glob("*.parquet"))
    return Output(QuantileTable.load(quantiles.uri), records, counts, bad, out)


@pytest.fixture(scope="session")
def settings_for():
    return make_settings


@pytest.fixture(scope="session")
def log_of():
    return make_log


@pytest.fixture(scope="session")
def components_run():
    return run_components
