"""Section 2.3, with numbers small enough to check by hand."""

import numpy as np
import tensorflow as tf

from model.fusion import fuse, top_candidates
from model.prediction import GroupedDense, SharedExperts, TaskTowers


def test_experts_are_mixed_by_each_tasks_gate():
    experts = SharedExperts(experts=2, units=[1], tasks=2)
    x = [tf.constant([[[1.0]]]), tf.constant([[[2.0]]])]
    experts(x)
    # Columns: expert 1, expert 2, then the gates of task 1 (two) and of task 2 (two).
    experts.first.kernels[0].assign([[1.0, 0.0, np.log(3.0), 0.0, 0.0, 0.0]])
    experts.first.kernels[1].assign([[0.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    o, g = experts(x)
    # f = (1, 4); g^1 = softmax(log 3, 0) = (3/4, 1/4); g^2 = (1/2, 1/2).
    np.testing.assert_allclose(g[0, 0], [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(o[0, 0, :, 0], [1.75, 2.5], rtol=1e-6)


def test_deeper_expert_layers_keep_experts_apart():
    layer = GroupedDense(1)
    x = tf.constant([[[[1.0, 2.0], [3.0, 4.0]]]])
    layer(x)  # builds
    layer.kernel.assign([[[1.0], [0.0]], [[0.0], [10.0]]])
    layer.bias.assign([[0.5], [-100.0]])
    np.testing.assert_allclose(layer(x)[0, 0], [[1.5], [0.0]])  # the second is cut by the ReLU


def test_towers_start_at_their_bias():
    towers = TaskTowers([2], bias=[0.1, -0.2, -1.5])
    towers(tf.zeros([1, 4, 3, 5]))
    logits = towers(tf.zeros([1, 4, 3, 5]))
    np.testing.assert_allclose(logits, np.tile([0.1, -0.2, -1.5], (1, 4, 1)), rtol=1e-6)


def test_fusion_by_hand():
    y = tf.constant([[[0.5, 0.4, 0.3], [0.1, 0.2, 0.9]]])
    np.testing.assert_allclose(fuse(y, tf.constant([1.0, 2.0, -1.0])), [[1.0, -0.4]], rtol=1e-6)


def test_ties_go_to_the_earlier_candidate_and_padding_comes_last():
    score = tf.constant([[0.5, -3.0, 0.5, 9.0]])
    best, places = top_candidates(score, tf.constant([[True, True, True, False]]), list_length=10)
    assert places.numpy().tolist() == [[0, 2, 1, 3]]
    assert best.numpy()[0, :3].tolist() == [0.5, 0.5, -3.0]
    assert np.isfinite(best).all()


def test_the_list_is_cut():
    best, _ = top_candidates(tf.constant([[1.0, 3.0, 2.0]]), tf.ones([1, 3], tf.bool), list_length=2)
    assert best.numpy().tolist() == [[3.0, 2.0]]
