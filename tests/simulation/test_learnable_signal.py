"""What there is to learn from a simulated log: each effect is there, and leaves room for the next."""

import numpy as np
import pytest


def auc(labels, scores):
    """Area under the ROC curve: the share of pairs in the right order, ties counting half."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = labels.sum()
    return (ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def held_out_average(feed, flag, keys):
    """Log-odds [P] of a flag by ``keys`` [P], counted on the even sessions only."""
    labels, counted = feed[flag], feed["session"] % 2 == 0
    total = np.bincount(keys[counted], labels[counted], keys.max() + 1)
    count = np.bincount(keys[counted], minlength=keys.max() + 1)
    rate = (total + 10 * labels[counted].mean()) / (count + 10)
    return np.log(rate / (1 - rate))[keys]


def user_and_video_average(feed, flag):
    return held_out_average(feed, flag, feed["user"]) + held_out_average(feed, flag, feed["video"])


def test_glances_are_as_frequent_as_on_a_real_feed(feed):
    assert 0.25 < feed["gvv"].mean() < 0.35
    assert 0.45 < feed["evv"].mean() < 0.52


def test_the_truth_predicts_the_flags_and_averages_fall_short(feed):
    truth = {
        "gvv": 1 - feed["watch"].probability_above(np.full(len(feed["user"]), 2_999.0)),
        "evv": feed["watch"].probability_above(feed["median"]),
    }
    others = feed["session"] % 2 == 1
    for flag, best in (("gvv", 0.8), ("evv", 0.75)):
        labels = feed[flag][others]
        averages = user_and_video_average(feed, flag)
        assert auc(labels, truth[flag][others]) > best
        assert 0.57 < auc(labels, averages[others]) < best - 0.05


def test_the_truth_is_calibrated(feed):
    stated = 1 - feed["watch"].probability_above(np.full(len(feed["user"]), 2_999.0))
    bins = np.digitize(stated, np.quantile(stated, np.linspace(0.1, 0.9, 9)))
    for number in range(10):
        inside = bins == number
        assert feed["gvv"][inside].mean() == pytest.approx(stated[inside].mean(), abs=0.025)


def test_users_and_videos_differ(feed):
    for key, least in (("user", 0.1), ("video", 0.08)):
        counts = np.bincount(feed[key])
        rates = np.bincount(feed[key], feed["gvv"]) / np.maximum(counts, 1)
        frequent = counts >= 40
        chance = (0.3 * 0.7 / counts[frequent]).mean()  # variance of a rate of .3 by chance alone
        assert np.sqrt(rates[frequent].var() - chance) > least


def test_a_skip_follows_a_skip_beyond_what_the_user_does_on_average(feed):
    """Deviations from the user's own mean go together within a session, fade with distance, and end with it."""
    mean = (np.bincount(feed["user"], feed["gvv"]) / np.maximum(np.bincount(feed["user"]), 1))[feed["user"]]
    deviation = feed["gvv"] - mean

    def correlation(lag, within):
        same_user = feed["user"][lag:] == feed["user"][:-lag]
        same_session = feed["session"][lag:] == feed["session"][:-lag]
        rows = same_user & (same_session if within else ~same_session)
        return np.corrcoef(deviation[lag:][rows], deviation[:-lag][rows])[0, 1]

    assert correlation(1, within=True) > 0.07
    assert correlation(1, within=True) > correlation(10, within=True) + 0.03
    assert correlation(1, within=True) > correlation(5, within=False) + 0.06


def test_a_recent_skip_tells_more_than_averages(feed):
    """The last three plays of the session add to user and video averages, as a sequence model will find."""
    averages = user_and_video_average(feed, "gvv")
    recent = np.zeros(len(averages))
    for lag in (1, 2, 3):
        same = feed["session"][lag:] == feed["session"][:-lag]
        recent[lag:] += same * (feed["gvv"][:-lag] - feed["gvv"].mean())
    others = feed["session"] % 2 == 1
    alone, together = averages[others], (averages + 0.6 * recent)[others]
    assert auc(feed["gvv"][others], together) > auc(feed["gvv"][others], alone) + 0.02


def test_profiles_tell_of_glances_and_of_taste(feed, logs):
    users, category = logs.world.users, logs.world.videos.category[feed["video"]]
    rates = [feed["gvv"][users.age_band[feed["user"]] == band].mean() for band in range(6)]
    assert rates[0] > rates[-1] + 0.08
    # Age and category together tell more than the two apart: tastes differ by age.
    age, others = users.age_band[feed["user"]], feed["session"] % 2 == 1
    apart = held_out_average(feed, "gvv", age) + held_out_average(feed, "gvv", category)
    together = held_out_average(feed, "gvv", age * logs.settings.num_categories + category)
    labels = feed["gvv"][others]
    assert auc(labels, together[others]) > auc(labels, apart[others]) + 0.005
