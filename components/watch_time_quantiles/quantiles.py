"""Quantiles by the inverted cumulative distribution, in whole numbers. Pure and vectorised.

The p-quantile of n watch times is the smallest observed one with at least a share p of them at or below it: the one of
rank ceil(p·n), counted from 1. For p = 1/2 and p = 3/5 the rank is computed in integers, so no rounding decides a flag.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]

#: The quantiles of the flags, as fractions: EVV is judged by the first, FVV by the second (paper, Table 1).
QUANTILES = ((1, 2), (3, 5))


def ranks(n: Ints) -> Ints:
    """The ranks [..., 2] (from 1) of the two quantiles among ``n`` [...] ordered values; n ≥ 1."""
    return np.stack([-(-over * n // under) for over, under in QUANTILES], axis=-1)


def by_group(group: Ints, watch_ms: Ints) -> tuple[Ints, Ints, Ints]:
    """The quantiles of every group of plays.

    Args:
        group: int64[n], the group (say, the video) of each play.
        watch_ms: int64[n], its watch time.

    Returns:
        The groups that occur int64[G], ascending; their quantiles int64[G, 2]; their numbers of plays int64[G].
    """
    order = np.lexsort([watch_ms, group])
    ordered = watch_ms[order]
    groups, first, plays = np.unique(group[order], return_index=True, return_counts=True)
    at = first[:, None] + ranks(plays) - 1  # [G, 2]
    return groups, ordered[at] if len(groups) else np.zeros((0, 2), np.int64), plays


def of_histogram(value_ms: Ints, count: Ints) -> Ints:
    """The quantiles [2] of watch times ``value_ms`` [n], in any order and with repeats, of which each stands for
    ``count`` [n] plays; at least one play is needed."""
    order = np.argsort(value_ms, kind="stable")
    at_or_below = np.cumsum(count[order])
    where = np.searchsorted(at_or_below, ranks(at_or_below[-1]), side="left")
    found: Ints = value_ms[order][where]
    return found


def histogram(bucket: Ints, watch_ms: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """Plays by (bucket, watch time), each pair once: (bucket, watch_ms, count), in ascending order.

    Histograms merge: concatenated and passed through here again, they are the histogram of all plays.
    """
    order = np.lexsort([watch_ms, bucket])
    bucket, watch_ms, count = bucket[order], watch_ms[order], count[order]
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(len(order), 1), bool), (np.diff(bucket) != 0) | (np.diff(watch_ms) != 0)])
    )
    sums = np.add.reduceat(count, starts) if len(starts) else count
    return bucket[starts], watch_ms[starts], sums
