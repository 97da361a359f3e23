"""Histories that stand still, by hand and by property."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.play_sequences.frozen import frozen
from components.play_sequences.windows import Segment


def test_frozen_windows_by_hand():
    # User 0 has plays at 1, 2, 3 | 10, 11; user 1 at 12 alone; user 2 at 4, 30.
    time_ms = np.array([1, 2, 3, 10, 11, 12, 4, 30])
    bounds = np.array([0, 5, 6, 8])
    places, windows = frozen(bounds, time_ms, Segment("eval", 10, 20), history_length=2)
    gathered = [places[a:b].tolist() for a, b in zip(windows.start, windows.end, strict=True)]
    assert gathered == [[1, 2, 3], [1, 2, 4], [5]]
    assert windows.first_target.tolist() == [2, 5, 6]
    # Names count from the user's first play in the log: the fourth and the fifth of user 0, the first of user 1.
    assert (windows.first_target - windows.user_start).tolist() == [3, 4, 0]


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=12), max_size=5),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 6),
)
def test_every_play_of_the_segment_is_alone_with_what_came_before(users, start, end, history_length):
    users = [sorted(times) for times in users if times]
    time_ms = np.array([t for times in users for t in times], np.int64)
    bounds = np.concatenate([[0], np.cumsum([len(times) for times in users])]).astype(np.int64)
    places, windows = frozen(bounds, time_ms, Segment("s", start, end), history_length)
    targets = places[windows.first_target] if len(windows) else np.array([], np.int64)
    np.testing.assert_array_equal(targets, np.flatnonzero((time_ms >= start) & (time_ms < end)))
    for first, target, last in zip(windows.start, windows.first_target, windows.end, strict=True):
        assert last == target + 1
        user = int(np.searchsorted(bounds, places[target], side="right")) - 1
        before = [p for p in range(bounds[user], bounds[user + 1]) if time_ms[p] < start]
        assert places[first:target].tolist() == (before[-history_length:] if history_length else [])
