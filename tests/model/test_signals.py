"""Item embeddings (eq. 1) and the numbers beside them (eq. 2-3 and the default preset's extras), by hand."""

import numpy as np
import tensorflow as tf

from model.embeddings import SumEmbedding
from model.signals import (
    HistoryStatistics,
    SinceLastPlay,
    TargetNumbers,
    TokenNumbers,
    hour_of_day,
    log_odds,
    log_seconds,
    watched_share,
)

FLAGS = tf.constant([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])  # two plays: engaged, glance
WATCH = tf.constant([[9_000, 1_000]], tf.int64)
DURATION = tf.constant([[3_000, 4_000]], tf.int64)
TIME = tf.constant([[5_000, 65_000]], tf.int64)


def test_item_embedding_is_the_sum_over_columns():
    item = SumEmbedding([3, 2], 2)
    ids = [tf.constant([[2, 0]]), tf.constant([[1, 1]])]
    item(ids)
    item.tables[0].embeddings.assign([[0.0, 1.0], [9.0, 9.0], [3.0, 4.0]])
    item.tables[1].embeddings.assign([[7.0, 7.0], [10.0, 20.0]])
    np.testing.assert_array_equal(item(ids)[0], [[13.0, 24.0], [10.0, 21.0]])


def test_tokens_of_the_paper_carry_the_three_flags():
    tokens = TokenNumbers([1.0, 1.0, 1.0], watch=False, gap=False)
    np.testing.assert_array_equal(tokens(FLAGS, WATCH, DURATION, TIME), FLAGS)


def test_token_extras():
    tokens = TokenNumbers([1.0, 1.0, 0.0], watch=True, gap=True)(FLAGS, WATCH, DURATION, TIME)[0]
    # Flags with GVV left out; log(1 + s); share, at most 2; log(1 + seconds since the play before) / 10.
    expected = [[1, 0, 0, np.log(10), 2.0, 0.0], [0, 0, 0, np.log(2), 0.25, np.log(61) / 10]]
    np.testing.assert_allclose(tokens, expected, rtol=1e-6)


def test_running_statistics_by_hand():
    prior = [0.5, 0.0, 0.25, np.log(2)]
    layer = HistoryStatistics(prior, decays=(1.0, 0.5), smoothing=1.0)
    out = layer(FLAGS, WATCH)[0]  # [3, 10]
    # Distances to the prior: play 0 (.5, 0, -.25, log 10 - log 2), play 1 (-.5, 0, .75, 0).
    first = np.array([0.5, 0, -0.25, np.log(5)])
    second = np.array([-0.5, 0, 0.75, 0])
    np.testing.assert_allclose(out[0], np.zeros(10), atol=1e-7)
    np.testing.assert_allclose(out[1], [*first / 2, np.log(2), *first / 2, np.log(2)], rtol=1e-5, atol=1e-7)
    whole, recent = (first + second) / 3, (0.5 * first + second) / 2.5
    np.testing.assert_allclose(out[2], [*whole, np.log(3), *recent, np.log(2.5)], rtol=1e-5, atol=1e-7)
    assert out.shape[-1] == layer.width


def test_target_numbers():
    limits = tf.constant([[[6_389, 19_086]]], tf.int64)
    numbers = TargetNumbers(duration=True, thresholds=True)(DURATION[:, :1], limits, tf.constant([[[1.5]]]))
    expected = [np.log(4) - 3, np.log(7.389) - 2, np.log(20.086) - 2, np.log(7.389) - 1.5, np.log(20.086) - 1.5]
    np.testing.assert_allclose(numbers[0, 0], expected, atol=1e-5)
    bare = TargetNumbers(duration=True, thresholds=False)(DURATION, limits)
    assert bare.shape == (1, 2, 1)


def test_time_since_the_last_play():
    out = SinceLastPlay()(tf.constant([[61_000, 61_000]], tf.int64), tf.constant([[1_000, 0]], tf.int64))
    np.testing.assert_allclose(out[0], [[np.log(61) / 10, 1.0], [0.0, 0.0]], rtol=1e-6)


def test_hours_are_local():
    midnight_utc = 1_700_006_400_000  # 2023-11-15 00:00 UTC
    times = tf.constant(
        [midnight_utc, midnight_utc + 15 * 3_600_000 + 3_599_999, midnight_utc + 16 * 3_600_000], tf.int64
    )
    assert hour_of_day(times, 8 * 3_600_000).numpy().tolist() == [8, 23, 0]


def test_small_functions():
    np.testing.assert_allclose(log_seconds(tf.constant([-5, 0, 1_000], tf.int64)), [0, 0, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(watched_share(tf.constant([5], tf.int64), tf.constant([0], tf.int64)), [0.0])
    np.testing.assert_allclose(log_odds([0.5, 0.2]), [0.0, np.log(0.25)])
    assert np.isfinite(log_odds([0.0, 1.0])).all()
