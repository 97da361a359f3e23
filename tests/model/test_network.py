"""The network as a whole: what it may see, what it updates, how it learns."""

import numpy as np
import pytest
import tensorflow as tf

from components.features import FLAGS
from model.batches import padded_batches
from model.joint import JointModel
from model.negatives import UnobservedVideos
from model.settings import Training
from model.thresholds import Thresholds, feedback_flags
from model.trainer import train

PRESETS = [
    {"model": {"preset": "default"}},
    {"model": {"preset": "paper"}},
    {"model": {"encoder": "none"}},
    {"model": {"preset": "paper", "attention": "full"}, "targets_per_example": 1},
    {"model": {"attention": "full", "encoder_blocks": 2}, "targets_per_example": 1},
]


def _batch(tiny, size=200):
    return next(iter(padded_batches(tiny.windows, 10_000, None).take(1)))


@pytest.mark.parametrize("settings", PRESETS)
def test_a_target_never_sees_its_own_play_or_a_later_one(make, settings):
    tiny = make(**settings)
    batch = _batch(tiny)
    context, plays = batch["context"], batch["plays"]
    before = tiny.network.window(context, plays)
    length = plays["video_id"].shape[1]
    at = length - 1 if tiny.run.targets_per_example == 1 else length // 2
    changed = dict(plays)
    later = tf.range(length)[tf.newaxis, :] >= at
    changed["play_time_ms"] = tf.where(later, plays["play_time_ms"] * 3 + 7_000, plays["play_time_ms"])
    after_own = tf.range(length)[tf.newaxis, :] > at
    for name in ("video_id", "author_id", "category", "music_id", "platform"):
        changed[name] = tf.where(after_own, tf.ones_like(plays[name]), plays[name])
    for name in ("duration_ms", "time_ms"):
        changed[name] = tf.where(after_own, plays[name] * 2, plays[name])
    after = tiny.network.window(context, changed)
    np.testing.assert_allclose(before[:, : at + 1], after[:, : at + 1], atol=1e-6)
    if tiny.run.targets_per_example > 1 and tiny.run.model.encoder != "none":
        assert np.abs(before[:, at + 1 :] - after[:, at + 1 :]).max() > 1e-4, "the change must show later on"


def test_a_score_does_not_depend_on_the_padding(tiny):
    batch = _batch(tiny)
    row = int(tf.argmin(tf.reduce_sum(tf.cast(batch["plays"]["mask"], tf.int32), axis=1)))
    length = int(tf.reduce_sum(tf.cast(batch["plays"]["mask"][row], tf.int32)))
    alone = tiny.network.window(
        {n: v[row : row + 1] for n, v in batch["context"].items()},
        {n: v[row : row + 1, :length] for n, v in batch["plays"].items()},
    )
    together = tiny.network.window(batch["context"], batch["plays"])
    np.testing.assert_allclose(alone[0], together[row, :length], atol=1e-5)


def test_thresholds_fall_back_to_the_duration_bucket(tiny):
    layer = Thresholds.of(tiny.table, tiny.vocabularies.values["video_id"])
    ids = tiny.vocabularies.ids("video_id", tf.constant(["v1", "v2", "v2", "never seen"]))
    out = layer(ids, tf.constant([500_000, 9_999, 10_000, 30_000], tf.int64))
    assert out.numpy().tolist() == [[4_000, 6_000], [3_000, 5_000], [8_000, 9_000], [20_000, 30_000]]
    expected = tiny.table.thresholds(["v1", "v2", "v2", "never seen"], np.array([500_000, 9_999, 10_000, 30_000]))
    np.testing.assert_array_equal(out, expected)


def test_flags_are_strict_at_their_thresholds():
    watch = tf.constant([2_999, 3_000, 4_000, 4_001, 6_001], tf.int64)
    flags = feedback_flags(watch, tf.constant([[4_000, 6_000]] * 5, tf.int64))
    assert flags.numpy().tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]]


def test_a_video_with_quantiles_must_be_in_the_vocabulary(tiny):
    with pytest.raises(ValueError, match="1 videos have quantiles but no id in the vocabulary"):
        Thresholds.of(tiny.table, [b"v1"])


def test_an_update_touches_only_the_rows_of_the_batch(make):
    tiny = make()
    joint = JointModel(tiny.network, Training(), total_steps=10)
    joint.compile(run_eagerly=True)
    batch = next(iter(padded_batches(tiny.windows, 24, None).take(1)))
    table = tiny.network.item.tables[0]
    before = table.embeddings.numpy()
    joint.train_step(batch)
    moved = np.flatnonzero(np.abs(table.embeddings.numpy() - before).sum(axis=1))
    seen = np.unique(batch["plays"]["video_id"])
    assert len(moved) and set(moved) <= set(seen)
    assert len(seen) < len(before), "the batch must leave rows out for the test to mean anything"


@pytest.mark.parametrize(
    "training",
    [
        {"loss": "logloss", "negatives": "exposed"},
        {"loss": "bpr", "negatives": "exposed"},
        {"loss": "logloss", "negatives": "random", "task_weights": "adaptive"},
        {"loss": "bpr", "negatives": "both"},
    ],
)
def test_every_loss_learns(make, training):
    steps = {"embedding_rate": 0.5, "dense_rate": 0.02}
    run = {"epochs": 10, "plays_per_batch": 256, "optimizers": steps, **training}
    tiny = make(training=run)
    joint = train(tiny.run, tiny.network, tiny.windows, tiny.summary, verbose=0)
    curves = joint.history.history
    assert np.isfinite(curves["loss"]).all()
    assert curves["loss"][-1] < curves["loss"][0]
    for flag in FLAGS:  # the flags depend on the video alone, so even a tiny model learns them
        assert curves[f"auc_{flag}"][-1] > 0.7, flag


def test_random_negatives_need_a_catalogue(tiny):
    with pytest.raises(ValueError, match="negatives 'random'"):
        JointModel(tiny.network, Training(negatives="random"), total_steps=1)
    with pytest.raises(ValueError, match="negatives 'exposed'"):
        JointModel(tiny.network, Training(), 1, UnobservedVideos(tiny.summary.catalogue, 1, 1))


def test_the_same_seed_trains_the_same_model(make):
    losses = []
    for _ in range(2):
        tiny = make(training={"epochs": 1})
        losses.append(train(tiny.run, tiny.network, tiny.windows, tiny.summary, verbose=0).history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_history_features_follow_the_settings(make):
    bare = make(model={"preset": "paper"}).network
    assert bare.history.output.keys() == {"e_h"}
    assert bare.history.output["e_h"].shape[-1] == bare.settings.embedding_dim + 3
    full = make().network
    assert full.history.output.keys() == {"e_h", "statistics", "last_time_ms"}
    assert full.history.output["e_h"].shape[-1] == full.settings.embedding_dim + 3 + 2 + 1
    assert make(model={"encoder": "none"}).network.history is None


def test_a_channel_left_out_changes_nothing(make):
    tiny = make(model={"encoder_flags": ["evv", "fvv"], "token_watch": False, "history_statistics": False})
    plays = _batch(tiny)["plays"]
    # Watch times of 0 and 2,999 ms differ in no flag but... both are glances; 3,000 is none. EVV and FVV stay 0.
    short = {**plays, "play_time_ms": tf.zeros_like(plays["play_time_ms"])}
    longer = {**plays, "play_time_ms": tf.fill(tf.shape(plays["play_time_ms"]), tf.constant(1_000, tf.int64))}
    glance = tiny.network.states(short)["e_h"]
    np.testing.assert_allclose(glance, tiny.network.states(longer)["e_h"], atol=1e-6)
