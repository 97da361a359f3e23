"""The whole pipeline on a few thousand simulated plays, and what users do with its outcome."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from components.features import FLAGS
from pipeline.ranking import Ask, request_of
from serving.client import RankingClient
from serving.server import serve

pytestmark = pytest.mark.pipeline
ROOT = Path(__file__).resolve().parents[2]


def test_run_prints_what_the_design_promises(small_run):
    result = small_run.result
    assert {"examples", "model", "report", "metrics", "blessed", "reasons", "seconds"} <= result.keys()
    assert result["blessed"] and result["reasons"] == []
    stages = ["WatchTimeQuantiles", "PlaySequences", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform"]
    assert [*result["seconds"]] == [*stages, "RankingTrainer", "Evaluator", "Pusher"]
    for stage in result["seconds"]:
        assert stage in small_run.stderr, "every stage shows on the terminal"
    report = Path(result["report"])
    assert json.loads((report / "report.json").read_text()) == result
    assert "| gvv |" in (report / "report.md").read_text()


def test_the_model_learned(small_run):
    metrics = small_run.result["metrics"]
    assert metrics["gvv"]["auc"] > 0.62 and metrics["evv"]["auc"] > 0.56
    for flag in FLAGS:
        assert 0.7 < metrics[flag]["calibration"] < 1.4


def test_every_row_is_accounted_for(small_run):
    counts = small_run.result["counts"]
    bad = sum(counts["bad"].values())
    assert bad > 0 and counts["duplicates"] > 0 and counts["not_a_feed"] > 0
    ends = counts["plays"] + counts["duplicates"] + bad + counts["not_a_feed"] + counts["outside_window"]
    assert counts["rows_read"] == ends
    assert sum(counts["targets"].values()) == counts["plays"]
    files = small_run.artifact("PlaySequences", "quarantine").glob("bad_rows-*.parquet")
    quarantine = pd.concat(pd.read_parquet(path) for path in files)
    assert len(quarantine) == bad
    assert quarantine["reason"].value_counts().to_dict() == counts["bad"]


def _examples(run, split):
    files = sorted((Path(run.result["examples"]) / f"Split-{split}").glob("*.gz"))
    return [r.numpy() for r in tf.data.TFRecordDataset([str(f) for f in files], compression_type="GZIP")]


def _pushed(run):
    return max(Path(run.result["model"]).iterdir(), key=lambda p: int(p.name))


@pytest.fixture(scope="module")
def scores(small_run, cli, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    cli("score", "--config", str(small_run.config), "--model", small_run.result["model"], "--out", str(out))
    return pd.read_parquet(out)


def test_score_has_one_row_per_evaluated_play(small_run, scores):
    assert len(scores) == small_run.result["counts"]["targets"]["eval"]
    assert not scores.duplicated(["user_id", "video_id", "time_ms"]).any()
    weights = small_run.settings.serving.fusion_weights.as_list()
    np.testing.assert_allclose(scores["score"], scores[list(FLAGS)] @ weights, atol=1e-6)


def test_the_evaluator_and_score_agree(small_run, scores):
    examples = [tf.train.Example.FromString(e).features.feature for e in _examples(small_run, "eval")]
    rows = []
    for f in examples:
        for video, time, target, gvv in zip(
            *(f[n].bytes_list.value or f[n].int64_list.value for n in ("video_id", "time_ms", "is_target", "gvv")),
            strict=True,
        ):
            if target:
                rows.append((f["user_id"].bytes_list.value[0].decode(), video.decode(), time, gvv))
    labels = pd.DataFrame(rows, columns=["user_id", "video_id", "time_ms", "label"])
    joined = scores.merge(labels, on=["user_id", "video_id", "time_ms"], validate="one_to_one")
    assert len(joined) == len(scores)
    auc = tf.keras.metrics.AUC(num_thresholds=10_000)
    auc.update_state(joined["label"], joined["gvv"])
    assert float(auc.result()) == pytest.approx(small_run.result["metrics"]["gvv"]["auc"], abs=2e-3)


def test_rank_through_grpc_equals_score(small_run, scores):
    """For plays at every place of their windows: same user, history and video give the same numbers."""
    plays = scores.sort_values("time_ms").groupby("user_id").nth([0, 1, 5, 20, 25]).sample(12, random_state=1)
    platforms = _platforms(small_run)
    with (
        serve(small_run.result["model"], port=0, name="small") as server,
        RankingClient(server.target, "small") as client,
    ):
        for play in plays.itertuples():
            platform = platforms[play.user_id, play.video_id, play.time_ms]
            ask = Ask(play.user_id, int(play.time_ms), (play.video_id,), platform=platform)
            [ranked] = client.rank(request_of(small_run.settings, ask)).videos
            for name in (*FLAGS, "score"):
                assert getattr(ranked, name) == pytest.approx(getattr(play, name), abs=1e-5), (play, name)


def _platforms(run):
    columns = ["user_id", "video_id", "time_ms", "platform"]
    log = pd.concat(pd.read_parquet(p, columns=columns) for p in Path(run.settings.data.root).glob("plays_*"))
    return {(r.user_id, r.video_id, r.time_ms): r.platform for r in log.itertuples()}


def test_flags_in_the_graph_equal_the_flags_of_the_examples(small_run):
    """Skew would hide here: the model flags histories itself."""
    from components.watch_time_quantiles.table import QuantileTable
    from model.thresholds import Thresholds, feedback_flags
    from model.vocabularies import read_vocabulary

    table = QuantileTable.load(str(small_run.artifact("WatchTimeQuantiles", "quantiles")))
    transform = small_run.artifact("Transform", "transform_graph") / "transform_fn" / "assets" / "vocabulary_video_id"
    vocabulary = read_vocabulary(str(transform))
    layer = Thresholds.of(table, vocabulary)
    ids = {value: i + 2 for i, value in enumerate(vocabulary)}
    for serialized in _examples(small_run, "eval")[:200]:
        f = tf.train.Example.FromString(serialized).features.feature
        video = tf.constant([ids.get(v, 1) for v in f["video_id"].bytes_list.value], tf.int64)
        numbers = {n: tf.constant(f[n].int64_list.value, tf.int64) for n in ("duration_ms", "play_time_ms", *FLAGS)}
        flags = feedback_flags(numbers["play_time_ms"], layer(video, numbers["duration_ms"]))
        np.testing.assert_array_equal(flags, np.stack([numbers[n] for n in FLAGS], axis=-1))


def test_transform_and_the_served_graph_look_up_the_same_ids(small_run):
    from model.vocabularies import Vocabularies

    features = small_run.settings.data.features
    assets = small_run.artifact("Transform", "transform_graph") / "transform_fn" / "assets"
    vocabularies = Vocabularies({n: str(assets / f"vocabulary_{n}") for n in features.categorical})
    columns = [f.name for f in features.example if f.name != "example_id"]

    def contents(example):
        return tuple(tuple(example[name].int64_list.value) for name in columns)

    expected = []
    for serialized in _examples(small_run, "eval"):
        raw = tf.train.Example.FromString(serialized).features.feature
        for name in features.categorical:
            ids = vocabularies.ids(name, tf.constant(list(raw[name].bytes_list.value))).numpy()
            raw[name].Clear()
            raw[name].int64_list.value.extend(ids)
        expected.append(contents(raw))
    files = [str(p) for p in small_run.artifact("Transform", "transformed_examples").glob("Split-eval/*")]
    transformed = [
        contents(tf.train.Example.FromString(r.numpy()).features.feature)
        for r in tf.data.TFRecordDataset(files, compression_type="GZIP")
    ]
    assert sorted(transformed) == sorted(expected)
    ids = {i for example in expected for i in example[columns.index("video_id")]}
    assert max(ids) > 2, "some videos must be in the vocabulary for this to mean anything"


def test_window_histories_stand_still(small_run, cli, scores, tmp_path):
    out = tmp_path / "window.parquet"
    arguments = ["--config", str(small_run.config), "--model", small_run.result["model"], "--out", str(out)]
    cli("score", *arguments, "--history", "window")
    frozen = pd.read_parquet(out)
    both = scores.merge(frozen, on=["user_id", "video_id", "time_ms"], suffixes=("", "_frozen"), validate="one_to_one")
    assert len(both) == len(scores) == len(frozen)
    first = both.sort_values(["time_ms", "video_id"]).groupby("user_id").head(1)
    np.testing.assert_allclose(first["gvv"], first["gvv_frozen"], atol=1e-5)  # nothing came between
    assert (both["gvv"] - both["gvv_frozen"]).abs().max() > 0.01


def test_skiprank_rank_shows_a_table(small_run, cli):
    model = ["--config", str(small_run.config), "--model", small_run.result["model"], "--name", "small"]
    done = cli("rank", *model, "--top", "3", "--json")
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["rank", "video", "score", "evv", "fvv", "gvv"]
    assert len(lines) == 2 + 3 + 1
    videos = json.loads(lines[-1])["videos"]
    assert [v["rank"] for v in videos] == list(range(1, len(videos) + 1))
    scores = [v["score"] for v in videos]
    assert scores == sorted(scores, reverse=True)


def test_a_model_with_a_history_beats_one_without(small_run):
    """The encoder and the skips it reads must be worth something on logs where they are."""
    from components.watch_time_quantiles.table import QuantileTable
    from model.batches import padded_batches, read_windows, summarise
    from model.trainer import build, train
    from model.vocabularies import Vocabularies

    run = small_run.settings.model_run
    run = run.model_copy(update={"model": run.model.model_copy(update={"encoder": "none"})})
    features = small_run.settings.data.features
    transformed = small_run.artifact("Transform", "transformed_examples")
    assets = small_run.artifact("Transform", "transform_graph") / "transform_fn" / "assets"
    vocabularies = Vocabularies({n: str(assets / f"vocabulary_{n}") for n in features.categorical})
    windows = read_windows([str(p) for p in transformed.glob("Split-train/*")], features)
    summary = summarise(windows, vocabularies.size("video_id"))
    tf.keras.utils.set_random_seed(1)
    table = QuantileTable.load(str(small_run.artifact("WatchTimeQuantiles", "quantiles")))
    joint = train(run, build(run, vocabularies, table, summary), windows, summary, verbose=0)
    held_out = read_windows([str(p) for p in transformed.glob("Split-eval/*")], features)
    without = joint.evaluate(padded_batches(held_out, 4096, None), return_dict=True, verbose=0)
    assert small_run.result["metrics"]["gvv"]["auc"] > without["auc_gvv"] + 0.02


def test_tfx_run_create_works(small_run, tmp_path):
    """The same pipeline by TFX's own command line, on another output folder."""
    values = yaml.safe_load(small_run.config.read_text())
    values["output"] = str(tmp_path / "out")
    values["training"]["epochs"] = 1
    values["evaluation"] = {"min_auc": {"evv": 0.2, "fvv": 0.2, "gvv": 0.2}}
    config = tmp_path / "tfx.yaml"
    config.write_text(yaml.safe_dump(values))
    environment = {**os.environ, "SKIPRANK_CONFIG": str(config), "HOME": str(tmp_path)}
    tfx = [str(Path(sys.executable).with_name("tfx"))]
    script = str(ROOT / "pipeline" / "local_runner.py")
    for command in (
        ["pipeline", "create", "--engine=local", f"--pipeline_path={script}"],
        ["run", "create", "--engine=local", "--pipeline_name=small"],
    ):
        done = subprocess.run(tfx + command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    assert list((tmp_path / "out" / "serving" / "small").glob("*/saved_model.pb"))
