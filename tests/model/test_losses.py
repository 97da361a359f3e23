"""Section 2.4, with numbers small enough to check by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from model.batches import Catalogue
from model.losses import TaskWeights, bpr_pairs
from model.negatives import UnobservedVideos, logit_correction


def test_bpr_pairs_by_hand():
    logits = tf.constant([[2.0, 0.5, 1.0, 7.0]])
    labels = tf.constant([[1.0, 0.0, 0.0, 0.0]])
    is_target = tf.constant([[1.0, 1.0, 1.0, 0.0]])  # the last play is history: in no pair
    difference, weight = bpr_pairs(logits, labels, is_target)
    rows, columns = np.nonzero(weight[0])
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (0, 2)]
    np.testing.assert_allclose(tf.boolean_mask(difference, weight > 0), [1.5, 1.0])


def test_fixed_weights_sum_to_one():
    weights = TaskWeights([1.0, 1.0, 2.0], adaptive=False)
    np.testing.assert_allclose(weights(tf.constant([9.0, 1.0, 1.0]), training=True), [0.25, 0.25, 0.5], rtol=1e-6)


def test_adaptive_weights_by_hand():
    weights = TaskWeights([1.0, 1.0], adaptive=True, fast=0.0, slow=0.5, temperature=1.0)
    weights(tf.constant([1.0, 1.0]), training=True)
    out = weights(tf.constant([1.0, 0.4]), training=True)
    # Fast averages (1, 0.4); slow ones, unbiased: (1, (0.5·1·0.5 + 0.5·0.4) / 0.75) = (1, 0.6); ratios (1, 2/3).
    expected = np.exp([1, 2 / 3]) / np.exp([1, 2 / 3]).sum()
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    assert out[0] > out[1], "the task that stopped falling gains weight"


def test_evaluation_does_not_move_adaptive_weights():
    weights = TaskWeights([1.0, 1.0], adaptive=True)
    before = weights(tf.constant([1.0, 1.0]), training=True)
    np.testing.assert_array_equal(weights(tf.constant([50.0, 1.0]), training=False), before)


@pytest.mark.parametrize("negatives", ["random", "both"])
def test_logit_correction_undoes_the_sampling(negatives):
    rate, drawn, impressions = 0.2, 3, 1_000_000
    positives = rate * impressions
    others = drawn * positives + ((impressions - positives) if negatives == "both" else 0)
    sampled = math.log(positives / others)
    corrected = 1 / (1 + math.exp(-(sampled + logit_correction(rate, negatives, drawn))))
    assert corrected == pytest.approx(rate)


def test_exposed_negatives_need_no_correction():
    assert logit_correction(0.2, "exposed", 3) == 0.0


def test_drawn_videos_are_known_and_unobserved():
    rows = np.array([[0, 0], [0, 0], [2, 10], [3, 20], [0, 0], [5, 30]])  # id 4 was never seen
    unobserved = UnobservedVideos(Catalogue(("video_id", "duration_ms"), rows), per_target=50, seed=1)
    columns, weight = unobserved.draw(tf.constant([[2, 0]], tf.int64))
    ids = columns["video_id"].numpy()[0]
    assert ids.shape == (100,) and set(ids) == {2, 3, 5}
    np.testing.assert_array_equal(columns["duration_ms"].numpy()[0], np.array([0, 0, 10, 20, 0, 30])[ids])
    np.testing.assert_array_equal(weight.numpy()[0] > 0, ids != 2)
