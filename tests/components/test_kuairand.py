"""The components on the real excerpt of KuaiRand-Pure, against a computation in pandas straight from the definition."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DATA = Path(os.environ.get("SKIPRANK_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
ROOT = DATA / "KuaiRand-Pure" / "data"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.beam,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the KuaiRand-Pure excerpt is not at {ROOT}; set SKIPRANK_DATA"),
]

FLAGS = ["evv", "fvv", "gvv"]
KEY = ["user_id", "video_id", "time_ms"]


@pytest.fixture(scope="module")
def settings():
    from components.settings import Components

    return Components.model_validate(
        {
            "data": {
                "root": str(ROOT),
                "time_zone": "Asia/Shanghai",
                "plays": {"files": ["{root}/log_standard_*.csv"], "columns": {"platform": "tab"}},
                "users": {
                    "files": ["{root}/user_features_pure.csv"],
                    "key": "user_id",
                    "columns": {"activity": "user_active_degree"},
                },
                "videos": {
                    "files": ["{root}/video_features_basic_pure.csv"],
                    "key": "video_id",
                    "columns": {"author_id": "author_id", "category": "tag", "music_id": "music_id"},
                },
                "feeds": ["1", "2", "4", "6"],
                "window": {"train_from": "2022-04-22", "evaluate_from": "2022-05-04", "evaluate_to": "2022-05-06"},
                "max_bad_row_fraction": 0.02,  # 1.5 % of the rows have the duration 0
            }
        }
    )


@pytest.fixture(scope="module")
def output(settings, components_run, tmp_path_factory):
    return components_run(settings, tmp_path_factory.mktemp("kuairand"))


@pytest.fixture(scope="module")
def expected():
    """One row per play, with its flags, straight from the definition."""
    log = pd.concat(pd.read_csv(f) for f in sorted(ROOT.glob("log_standard_*.csv")))
    log = log[log.tab.isin([1, 2, 4, 6]) & (log.duration_ms > 0)]
    log = log.sort_values([*KEY, "play_time_ms", "duration_ms"]).drop_duplicates(KEY, keep="last")
    at = pd.to_datetime(log.time_ms, unit="ms", utc=True).dt.tz_convert("Asia/Shanghai")
    log["split"] = np.where(at < "2022-05-04", "train", "eval")
    assert at.min() >= pd.Timestamp("2022-04-22", tz="Asia/Shanghai")
    assert at.max() < pd.Timestamp("2022-05-06", tz="Asia/Shanghai")
    edges = np.rint(np.geomspace(3_000, 600_000, 15))
    log["bucket"] = np.digitize(log.duration_ms, edges)
    window = log[log.split == "train"]

    def quantile(watch, numerator, denominator):
        return np.sort(watch)[-(-numerator * len(watch) // denominator) - 1]

    for name, numerator, denominator in (("q50", 1, 2), ("q60", 3, 5)):
        own = window.groupby("video_id").play_time_ms.agg(lambda w: quantile(w, numerator, denominator))  # noqa: B023
        own = own[window.groupby("video_id").size() >= 20]
        bucket = window.groupby("bucket").play_time_ms.agg(lambda w: quantile(w, numerator, denominator))  # noqa: B023
        everywhere = quantile(window.play_time_ms, numerator, denominator)
        log[name] = log.video_id.map(own).fillna(log.bucket.map(bucket)).fillna(everywhere)
    log["evv"] = (log.play_time_ms > log.q50).astype(int)
    log["fvv"] = (log.play_time_ms > log.q60).astype(int)
    log["gvv"] = (log.play_time_ms < 3_000).astype(int)
    return log.astype({"user_id": str, "video_id": str})


def test_flags_of_all_examples(output, expected):
    for split in ("train", "eval"):
        found = output.plays(split, [*KEY, *FLAGS, "play_time_ms", "duration_ms", "platform"]).set_index(KEY)
        wanted = expected[expected.split == split].set_index(KEY)
        assert found.index.is_unique and set(found.index) == set(wanted.index)
        wanted = wanted.loc[found.index]
        for column in (*FLAGS, "play_time_ms", "duration_ms"):
            assert (found[column] == wanted[column]).all(), column
        assert (found.platform == wanted.tab.astype(str)).all()


def test_counts(output, expected):
    # BASELINES counts 131,883 and 27,067 by the log's `date` column, which puts the last minutes before midnight on the
    # day after; by time_ms 135 plays of 3 May 23:xx fall to the training window. The sum is the same.
    assert output.counts.targets == {"train": 132_018, "eval": 26_932}
    assert output.counts.targets == expected.split.value_counts().to_dict()
    assert output.counts.plays == 131_883 + 27_067
    assert output.counts.rows_read == 185_061 and output.counts.bad == {"non_positive_duration_ms": 2_793}
    assert len(output.bad) == 2_793


def test_side_tables_are_joined(output):
    users = pd.read_csv(ROOT / "user_features_pure.csv", dtype=str).set_index("user_id")
    videos = pd.read_csv(ROOT / "video_features_basic_pure.csv", dtype=str).set_index("video_id")
    found = output.plays("eval", ["user_id", "video_id", "activity", "author_id", "category", "music_id"])
    assert (found.activity == users.user_active_degree.reindex(found.user_id).fillna("").to_numpy()).all()
    for ours, theirs in (("author_id", "author_id"), ("category", "tag")):
        wanted = videos[theirs].reindex(found.video_id).fillna("").str.removesuffix(".0").to_numpy()
        assert (found[ours] == wanted).all(), ours
    assert (found.author_id != "").mean() > 0.99


def test_histories_are_those_of_the_log(output, expected):
    whole = expected.sort_values(["user_id", "time_ms", "video_id"])
    plays = dict(iter(whole.groupby("user_id")))
    for example in output.decoded("eval")[::50]:
        own = plays[example["user_id"][0]]
        first = int(example["example_id"][0].split(":")[1])
        history = example["is_target"].index(1)
        assert sum(example["is_target"]) == len(example["is_target"]) - history <= 50 and history <= 50
        assert history == min(first, 50)
        window = own.iloc[first - history : first - history + len(example["is_target"])]
        assert example["video_id"] == window.video_id.tolist() and example["time_ms"] == window.time_ms.tolist()
        for flag in FLAGS:
            assert example[flag] == window[flag].tolist()
