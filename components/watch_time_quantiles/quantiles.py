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


def by_group(group: Ints, value_ms: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """The quantiles of every group of plays.

    Args:
        group: int64[n], the group (say, the video) of each value.
        value_ms: int64[n], watch times, in any order and with repeats.
        count: int64[n], how many plays each value stands for, ≥ 1.

    Returns:
        The groups that occur int64[G], ascending; their quantiles int64[G, 2]; their numbers of plays int64[G].
    """
    order = np.lexsort([value_ms, group])
    groups, first = np.unique(group[order], return_index=True)
    up_to = np.cumsum(count[order])  # [n], over all groups
    ends = np.append(first[1:], len(order))[: len(groups)]
    before = np.concatenate([[0], up_to])[first]  # [G]
    plays = up_to[ends - 1] - before
    where = np.searchsorted(up_to, before[:, None] + ranks(plays), side="left")  # [G, 2]
    return groups, value_ms[order][where], plays


def of_histogram(value_ms: Ints, count: Ints) -> Ints:
    """The quantiles [2] of watch times ``value_ms`` [n], in any order and with repeats, of which each stands for
    ``count`` [n] plays; at least one play is needed."""
    found: Ints = by_group(np.zeros_like(value_ms), value_ms, count)[1][0]
    return found


def histogram(bucket: Ints, watch_ms: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """Plays by (bucket or video, watch time), each pair once: (bucket, watch_ms, count), in ascending order.

    Histograms merge: concatenated and passed through here again, they are the histogram of all plays.
    """
    order = np.lexsort([watch_ms, bucket])
    bucket, watch_ms, count = bucket[order], watch_ms[order], count[order]
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(len(order), 1), bool), (np.diff(bucket) != 0) | (np.diff(watch_ms) != 0)])
    )
    sums = np.add.reduceat(count, starts) if len(starts) else count
    return bucket[starts], watch_ms[starts], sums
