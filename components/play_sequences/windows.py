"""How a user's plays are cut into windows, one tf.Example each. Pure and vectorised.

The plays of a segment [a, b) of a user's plays (say, those of the evaluation window) are its targets, in chunks of T
from a on. A window is a chunk and up to ``history_length`` plays before it, which may lie before the segment:

    plays     0 1 2 3 4 5 6 7 8 9        a = 4, b = 10, T = 3, history_length = 2
    windows       h h t t t
                        h h t t t

So each play of a segment is a target exactly once, and a target has up to ``history_length`` earlier plays before it,
at most ``history_length + T - 1``.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from components.play_log.batches import Ints


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of time whose plays become targets.

    Attributes:
        name: Its name, say that of a split.
        start_ms: Its start, in epoch milliseconds.
        end_ms: Its end, exclusive.
    """

    name: str
    start_ms: int
    end_ms: int


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows over plays in order, as positions among all of these plays; W windows.

    Attributes:
        start: int64[W], the first play.
        first_target: int64[W], the first target; the plays before it are history.
        end: int64[W], one past the last play, which is a target.
        user_start: int64[W], the first play of the window's user.
    """

    start: Ints
    first_target: Ints
    end: Ints
    user_start: Ints

    def __len__(self) -> int:
        return len(self.start)

    def slice(self, start: int, end: int) -> Windows:
        """The windows ``start`` to ``end``."""
        part = slice(start, end)
        return Windows(self.start[part], self.first_target[part], self.end[part], self.user_start[part])

    @property
    def targets(self) -> int:
        """The number of target plays."""
        return int((self.end - self.first_target).sum())


def window_start(index: int, segment_start: int, history_length: int, targets: int) -> int:
    """Where the window begins in which a play is a target.

    Args:
        index: The play's place among its user's plays, from 0.
        segment_start: The place of the first play of its segment.
        history_length: Earlier plays that every target has, where there are so many.
        targets: T, the targets of a window.
    """
    chunk = segment_start + (index - segment_start) // targets * targets
    return max(0, chunk - history_length)


def user_bounds(user: Ints) -> Ints:
    """Where each user's plays begin, and the number of plays [U+1]; ``user`` [n] holds equal numbers side by side."""
    starts = np.flatnonzero(np.diff(user)) + 1
    return np.concatenate([[0], starts, [len(user)]]).astype(np.int64) if len(user) else np.zeros(1, np.int64)


def cut(bounds: Ints, time_ms: Ints, segment: Segment, history_length: int, targets: int) -> Windows:
    """The windows of one segment.

    Args:
        bounds: int64[U+1], see :func:`user_bounds`.
        time_ms: int64[n], ascending within a user.
        segment: Which plays are targets.
        history_length: Earlier plays that every target has, where there are so many.
        targets: T, the targets of a window.
    """
    user_start = bounds[:-1]
    # Times ascend within a user, so counting those before a moment finds its place.
    a = user_start + _per_user(time_ms < segment.start_ms, bounds)
    b = user_start + _per_user(time_ms < segment.end_ms, bounds)
    chunks = -(-np.maximum(b - a, 0) // targets)  # [U]
    user = np.repeat(np.arange(len(chunks)), chunks)  # [W]
    place = np.arange(len(user)) - np.repeat(np.cumsum(chunks) - chunks, chunks)  # of the chunk in its segment
    first = a[user] + place * targets
    return Windows(
        start=np.maximum(user_start[user], first - history_length),
        first_target=first,
        end=np.minimum(first + targets, b[user]),
        user_start=user_start[user],
    )


def _per_user(mask: np.ndarray, bounds: Ints) -> Ints:  # type: ignore[type-arg]
    """How many of each user's plays are marked [U]."""
    before = np.concatenate([[0], np.cumsum(mask)])
    counts: Ints = before[bounds[1:]] - before[bounds[:-1]]
    return counts
