"""Section 2.2, with numbers small enough to check by hand."""

import numpy as np
import pytest
import tensorflow as tf

from model.context import ContextGate, SlotImportance
from model.dense import BroadcastConcat, BroadcastDense


def _three(value=1.0):
    return [tf.fill([1, 1, 1], value)] * 3


def test_gate_by_hand():
    gate = ContextGate()
    e_in = tf.constant([[[2.0, 5.0]]])
    gate(e_in, _three())
    for kernel, row in zip(gate.w_1.kernels, ([1.0, 0.0], [0.5, 0.0], [0.0, -1.0]), strict=True):
        kernel.assign([row])
    # W_1 [e_u; e_i; e_p] = (1.5, -1); E_trans = (2·1.5, 5·-1).
    np.testing.assert_allclose(gate(e_in, _three())[0, 0], [3.0, -5.0])


def test_gate_identity_start_passes_features():
    gate = ContextGate(identity_start=True)
    e_in = tf.constant([[[2.0, 5.0]]])
    gate(e_in, _three(0.0))
    np.testing.assert_allclose(gate(e_in, _three(0.0)), e_in)


def test_slots_by_hand():
    slots = SlotImportance(slots=2)
    e_trans = tf.constant([[[1.0, 2.0, 3.0, 4.0]]])
    slots(e_trans, _three())
    for kernel in slots.w_slot.kernels:
        kernel.assign(tf.zeros_like(kernel))
    slots.w_slot.kernels[1].assign([[0.0, np.log(3.0)]])  # of e_u: logit 0 for slot 0, log 3 for slot 1
    # α = (1/2, 3/4): dimensions 0-1 share the first, 2-3 the second.
    np.testing.assert_allclose(slots(e_trans, _three())[0, 0], [0.5, 1.0, 2.25, 3.0], rtol=1e-6)


def test_slots_must_divide_the_width():
    with pytest.raises(ValueError, match=r"`slots` must divide the context width 4. Received: `slots=3`"):
        SlotImportance(slots=3)(tf.zeros([1, 1, 4]), _three())


def test_broadcast_dense_equals_dense_on_the_concatenation():
    layer = BroadcastDense(3, activation="relu")
    user, video = tf.random.stateless_normal([2, 1, 4], [1, 1]), tf.random.stateless_normal([2, 5, 2], [2, 2])
    out = layer([user, video])
    layer.bias.assign([0.1, -0.2, 0.3])
    tiled = tf.concat([tf.repeat(user, 5, axis=1), video], axis=-1)
    expected = tf.nn.relu(tiled @ tf.concat(layer.kernels, axis=0) + layer.bias)
    out = layer([user, video])
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_broadcast_concat_repeats_single_rows(n):
    user, video = tf.ones([2, 1, 4]), tf.zeros([2, n, 2])
    out = BroadcastConcat()([user, video])
    assert out.shape == (2, n, 6)
    np.testing.assert_array_equal(out, np.tile([1, 1, 1, 1, 0, 0], (2, n, 1)))
