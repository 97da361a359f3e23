"""One simulated log that the tests of this folder share."""

import numpy as np
import pytest

from simulation.logs import simulate
from simulation.settings import Simulation

SMALL = Simulation(seed=3, num_users=1_000, num_videos=600, num_authors=100, num_plays=60_000, days=7)
TINY = Simulation(seed=3, num_users=60, num_videos=80, num_authors=20, num_music=20, num_plays=1_500, days=3)


@pytest.fixture(scope="session")
def tiny():
    """Settings of a log that takes a moment."""
    return TINY


@pytest.fixture(scope="session")
def logs():
    """The shared log."""
    return simulate(SMALL)


@pytest.fixture(scope="session")
def feed(logs):
    """Columns [P] of the plays on feeds, by user, then time; with the truth and the EVV threshold of each play."""
    platform = logs.plays["platform"].to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(np.isin(platform, SMALL.feeds))
    time_ms = logs.plays["time_ms"].to_numpy()
    rows = rows[np.lexsort((time_ms[rows], logs.truth.user[rows]))]
    truth = logs.truth[rows]
    play_time = logs.plays["play_time_ms"].to_numpy()[rows]
    median = np.zeros(SMALL.num_videos)
    for video in np.unique(truth.video):
        median[video] = np.quantile(play_time[truth.video == video], 0.5, method="inverted_cdf")
    return {
        "time_ms": time_ms[rows],
        "play_time_ms": play_time,
        "user": truth.user,
        "video": truth.video,
        "session": truth.session,
        "mood": truth.mood,
        "watch": truth.watch,
        "gvv": play_time < 3_000,
        "evv": play_time > median[truth.video],
        "median": median[truth.video],
    }
