"""Repeated deliveries of one play, counted once. Pure and vectorised."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from components.play_log.batches import Bools, Ints, ints, text_ranks
from components.play_log.columns import IDS, NUMBERS


def dedupe(plays: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Keeps one row of every (user, video, time), whatever the order in which they came.

    Of repeated deliveries the longest watch time is kept, then the longest duration, then the smallest platform, then
    the smallest of the other columns, in their order: a player reports a play more than once while it goes on.

    Returns:
        The plays kept, in no particular order, and the number of rows dropped.
    """
    if plays.num_rows < 2:
        return plays, 0
    key = [ints(plays.column("time_ms")), *(text_ranks(plays.column(name)) for name in IDS)]
    order = np.lexsort(key)
    repeats = _equals_previous(key, order)
    if not repeats.any():
        return plays, 0
    # Only rows that share their key with another one are compared in full; they are few.
    shared = repeats | np.append(repeats[1:], False)
    alone, rivals = order[~shared], order[shared]
    others = [name for name in plays.schema.names if name not in (*IDS, *NUMBERS)]
    subset = plays.take(pa.array(rivals))
    preference: list[Ints] = [-ints(subset.column("play_time_ms")), -ints(subset.column("duration_ms"))]
    preference += [text_ranks(subset.column(name)) for name in others]
    rival_key = [k[rivals] for k in key]
    ranked = np.lexsort([*reversed(preference), *rival_key])
    winners = rivals[ranked[~_equals_previous(rival_key, ranked)]]
    kept = np.concatenate([alone, winners])
    return plays.take(pa.array(kept)), plays.num_rows - len(kept)


def _equals_previous(key: list[Ints], order: Ints) -> Bools:
    """Whether each row, in ``order``, has the key of the row before it [n]."""
    same = np.ones(len(order) - 1, bool)
    for part in key:
        ordered = part[order]
        same &= ordered[1:] == ordered[:-1]
    return np.insert(same, 0, False)
