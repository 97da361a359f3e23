"""Windows whose histories stand still: the *window* protocol of per-user measures. Pure and vectorised."""

from __future__ import annotations

import itertools

import numpy as np

from components.play_log.batches import Ints
from components.play_sequences.windows import Segment, Windows, cut


def frozen(bounds: Ints, time_ms: Ints, segment: Segment, history_length: int) -> tuple[Ints, Windows]:
    """One window per play of a segment: the user's last plays before the segment, then the play itself.

    No play of the segment is in the history of another, so the windows are no stretches of the log: they lie over plays
    gathered anew.

    Args:
        bounds: int64[U+1], where each user's plays begin, and their number.
        time_ms: int64[n], ascending within a user.
        segment: Which plays are targets.
        history_length: The most plays of a history.

    Returns:
        The places of the gathered plays among the plays given, and the windows over the gathered ones.
    """
    single = cut(bounds, time_ms, segment, 0, 1)  # a window of its own for every target
    before = bounds[:-1] + np.array(
        [np.searchsorted(time_ms[a:b], segment.start_ms) for a, b in itertools.pairwise(bounds)],
        np.int64,
    )  # [U], where each user's segment begins
    user = np.searchsorted(bounds, single.first_target, side="right") - 1  # [W]
    end = before[user]
    start = np.maximum(bounds[user], end - history_length)
    lengths = end - start + 1  # the target included
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - start, lengths)
    places[offsets[1:] - 1] = single.first_target
    # A target's name counts from its user's first play in the log, wherever it was gathered to.
    user_start = offsets[1:] - 1 - (single.first_target - single.user_start)
    return places, Windows(offsets[:-1], offsets[1:] - 1, offsets[1:], user_start)
