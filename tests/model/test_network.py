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


@pytest.mark.training
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


@pytest.mark.training
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


def _cross_entropy(labels, logits):
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def test_the_joint_loss_by_hand(tiny):
    """Eq. 9 and the sum over tasks, on a whole batch: mean log loss over the targets, weighted by λ."""
    joint = JointModel(tiny.network, Training(weights={"evv": 1.0, "fvv": 1.0, "gvv": 2.0}), total_steps=1)
    batch = _batch(tiny)
    plays = batch["plays"]
    logits = tiny.network.window(batch["context"], plays).numpy()
    target = plays["is_target"].numpy() > 0
    means = [_cross_entropy(plays[f].numpy()[target], logits[target, k]).mean() for k, f in enumerate(FLAGS)]
    expected = 0.25 * means[0] + 0.25 * means[1] + 0.5 * means[2]
    assert float(joint.compute_loss(batch)) == pytest.approx(expected, rel=1e-5)


def test_the_bpr_loss_by_hand(tiny):
    joint = JointModel(tiny.network, Training(loss="bpr"), total_steps=1)
    batch = _batch(tiny)
    plays = batch["plays"]
    logits = tiny.network.window(batch["context"], plays).numpy()
    means = []
    for k, flag in enumerate(FLAGS):
        terms = []
        for row in range(len(logits)):
            chosen = np.flatnonzero(plays["is_target"][row])
            labels = plays[flag].numpy()[row, chosen]
            z = logits[row, chosen, k].astype(np.float64)
            terms += [np.log1p(np.exp(-(p - n))) for p in z[labels == 1] for n in z[labels == 0]]
        means.append(np.mean(terms))
    assert float(joint.compute_loss(batch)) == pytest.approx(np.mean(means), rel=1e-5)


#: One other value for each setting of the network; each must change what the network is or says.
OTHER_VALUES = {
    "encoder": "none", "embedding_dim": 8, "encoder_blocks": 2, "ffn_units": 16, "encoder_flags": ["evv", "fvv"],
    "item_embedding": "video", "token_watch": False, "token_gap": False, "feature_dim": 4, "slots": 1,
    "context_video": ["category"], "gate_identity": False, "context_ids": False, "context_duration": False,
    "context_thresholds": False, "context_time": False, "history_statistics": False, "experts": 2,
    "expert_units": [8], "tower_units": [4],
}  # fmt: skip


def _fingerprint(tiny):
    tf.keras.utils.set_random_seed(5)
    shapes = [tuple(v.shape) for model in tiny.network.trackable for v in model.weights]
    for model in tiny.network.trackable:
        for i, variable in enumerate(model.trainable_weights):
            variable.assign(tf.random.stateless_normal(variable.shape, [i, 1]) * 0.3)
    batch = _batch(tiny)
    return shapes, tiny.network.window(batch["context"], batch["plays"]).numpy()


@pytest.mark.training
def test_every_setting_of_the_network_is_read(make):
    # Dropout acts in training only, vocabulary counts in preprocessing; preset and attention have tests of their own.
    others = {"dropout", "vocabulary_counts", "preset", "attention"}
    assert OTHER_VALUES.keys() | others == set(type(make(count=20).run.model).model_fields)
    shapes, logits = _fingerprint(make(count=20))
    for name, value in OTHER_VALUES.items():
        changed_shapes, changed_logits = _fingerprint(make(count=20, model={name: value}))
        assert changed_shapes != shapes or np.abs(changed_logits - logits).max() > 1e-4, name


def test_dropout_acts_in_training_only(make):
    tiny = make(count=20, model={"dropout": 0.5})
    joint = JointModel(tiny.network, Training(), total_steps=1)
    batch = _batch(tiny)
    assert float(joint.compute_loss(batch)) == float(joint.compute_loss(batch))
    assert float(joint.compute_loss(batch, training=True)) != float(joint.compute_loss(batch, training=True))
