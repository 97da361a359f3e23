import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.play_sequences.windows import Segment, cut, user_bounds, window_start


def test_the_example_of_the_docstring():
    time_ms = np.arange(10)
    windows = cut(np.array([0, 10]), time_ms, Segment("s", 4, 10), history_length=2, targets=3)
    assert windows.start.tolist() == [2, 5]
    assert windows.first_target.tolist() == [4, 7]
    assert windows.end.tolist() == [7, 10]
    assert len(windows) == 2 and windows.targets == 6
    assert windows.slice(1, 2).start.tolist() == [5]


def test_bounds_of_users():
    assert user_bounds(np.array([4, 4, 1, 7, 7])).tolist() == [0, 2, 3, 5]
    assert user_bounds(np.zeros(0, np.int64)).tolist() == [0]


USERS = st.lists(st.lists(st.integers(0, 30), max_size=25), max_size=5)


@given(USERS, st.integers(1, 7), st.integers(1, 7), st.integers(0, 31))
def test_windows(users, history_length, targets, split):
    targets = min(targets, history_length)
    split = min(max(split, 5), 28)
    users = [sorted(times) for times in users if times]
    user = np.concatenate([[i] * len(t) for i, t in enumerate(users)] or [[]]).astype(np.int64)
    time_ms = np.array([t for times in users for t in times], np.int64)
    bounds = user_bounds(user)
    seen = np.zeros(len(user), int)
    for segment in (Segment("train", 5, split), Segment("eval", split, 28)):
        windows = cut(bounds, time_ms, segment, history_length, targets)
        for start, first, end, user_start in zip(
            windows.start, windows.first_target, windows.end, windows.user_start, strict=True
        ):
            assert user_start == bounds[user[first]] <= start <= first < end
            assert (user[start:end] == user[first]).all()  # plays of one user, in order, without a gap
            assert end - first <= targets
            seen[first:end] += 1
            inside = (time_ms[first:end] >= segment.start_ms) & (time_ms[first:end] < segment.end_ms)
            assert inside.all()
            segment_start = int(np.flatnonzero((user == user[first]) & (time_ms >= segment.start_ms))[0])
            for target in range(first, end):
                earlier = target - start
                assert min(target - user_start, history_length) <= earlier <= history_length + targets - 1
                assert start - user_start == window_start(
                    int(target - user_start), int(segment_start - user_start), history_length, targets
                )
    assert (seen == ((time_ms >= 5) & (time_ms < 28))).all()  # each play is a target exactly once, over both


def test_one_target_per_example_is_a_sliding_window():
    windows = cut(np.array([0, 5]), np.arange(5), Segment("s", 0, 9), history_length=2, targets=1)
    assert windows.start.tolist() == [0, 0, 0, 1, 2]
    assert (windows.end - windows.first_target).tolist() == [1] * 5
