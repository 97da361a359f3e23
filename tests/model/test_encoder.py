"""Section 2.1, with numbers small enough to check by hand."""

import numpy as np
import pytest
import tensorflow as tf

from model.encoder import Encoder, EncoderBlock, SelfAttention, TokenSequence, causal_mask


def test_self_attention_by_hand():
    # Width 2, scale d = 4. W^q = W^k = I, W^v = 2 I.
    layer = SelfAttention(scale_dim=4)
    layer(tf.zeros([1, 1, 2]), causal_mask(1))  # builds
    layer.w_qkv.assign(np.hstack([np.eye(2), np.eye(2), 2 * np.eye(2)]))
    x = tf.constant([[[2.0, 0.0], [0.0, 2.0]]])
    out = layer(x, tf.ones([1, 1, 2], tf.bool))
    # Query 0 scores q·k/√4: key 0 4/2 = 2, key 1 0; softmax (e², 1)/(e² + 1).
    p = np.exp(2) / (np.exp(2) + 1)
    np.testing.assert_allclose(out[0], [[4 * p, 4 * (1 - p)], [4 * (1 - p), 4 * p]], rtol=1e-6)


def test_causal_mask_hides_later_keys():
    layer = SelfAttention(scale_dim=1)
    layer(tf.zeros([1, 1, 1]), causal_mask(1))  # builds
    layer.w_qkv.assign([[1.0, 1.0, 1.0]])
    out = layer(tf.constant([[[1.0], [100.0]]]), causal_mask(2))
    np.testing.assert_allclose(out[0, 0], [1.0])  # sees itself alone
    np.testing.assert_allclose(out[0, 1], [100.0])  # its own key outweighs the other


def test_block_is_post_layernorm():
    block = EncoderBlock(scale_dim=1, ffn_units=1)
    x = tf.constant([[[1.0, 3.0]]])
    block(x, tf.ones([1, 1, 1], tf.bool))  # builds
    block.attention.w_qkv.assign(tf.zeros_like(block.attention.w_qkv))
    for dense in (block.hidden, block.out):
        dense.kernel.assign(tf.zeros_like(dense.kernel))
    # Both branches are zero, so H = LayerNorm(LayerNorm(x)): mean 2, deviation 1 gives (-1, 1), and again.
    np.testing.assert_allclose(block(x, tf.ones([1, 1, 1], tf.bool))[0, 0], [-1.0, 1.0], rtol=1e-4)


def test_tokens_are_start_then_plays_plus_positions():
    tokens = TokenSequence(positions=3)
    tokens(tf.zeros([1, 1, 2]))  # builds
    tokens.start.assign([[[9.0, 9.0]]])
    tokens.position.assign([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])
    out = tokens(tf.constant([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(out[0], [[9.0, 9.0], [1.1, 0.1], [0.2, 1.2]], rtol=1e-6)


def test_no_history_gives_the_start_state():
    encoder = Encoder(4, positions=6, blocks=1, ffn_units=8, causal=True, dropout=0.0)
    states = encoder(tf.random.normal([2, 3, 7]), tf.ones([2, 3], tf.bool))
    none = encoder(tf.zeros([2, 0, 7]), tf.ones([2, 0], tf.bool))
    assert none.shape == (2, 1, 7)
    np.testing.assert_allclose(none[:, 0], states[:, 0], atol=1e-6)
    assert np.isfinite(none).all()


def test_too_long_a_history_is_refused():
    encoder = Encoder(4, positions=2, blocks=1, ffn_units=8, causal=True, dropout=0.0)
    with pytest.raises(tf.errors.InvalidArgumentError):
        encoder(tf.zeros([1, 3, 7]), tf.ones([1, 3], tf.bool))


@pytest.mark.parametrize("causal", [True, False])
def test_states_do_not_change_with_what_they_may_not_see(causal):
    encoder = Encoder(4, positions=8, blocks=2, ffn_units=8, causal=causal, dropout=0.0)
    plays = tf.random.stateless_normal([1, 5, 7], [1, 2])
    is_history = tf.constant([[True, True, True, False, False]])
    other = tf.concat([plays[:, :3], 5 * plays[:, 3:] + 1], axis=1)
    before, after = encoder(plays, is_history), encoder(other, is_history)
    np.testing.assert_allclose(before[:, :4], after[:, :4], atol=1e-6)  # states after 0..3 plays
    assert np.abs(before[:, 4] - after[:, 4]).max() > 1e-3  # a token sees itself


def test_save_and_reload(tmp_path):
    encoder = Encoder(4, positions=8, blocks=1, ffn_units=8, causal=True, dropout=0.0)
    plays, history = tf.keras.Input([None, 7]), tf.keras.Input([None], dtype=tf.bool)
    model = tf.keras.Model([plays, history], encoder(plays, history))
    x = tf.random.stateless_normal([2, 4, 7], [3, 4])
    expected = model([x, tf.ones([2, 4], tf.bool)])
    tf.saved_model.save(model, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded([x, tf.ones([2, 4], tf.bool)], False, None), expected, atol=1e-6)
