import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.watch_time_quantiles.quantiles import by_group, histogram, of_histogram, ranks

WATCH = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def by_definition(watch, p):
    """The smallest observed watch time with at least a share p of the plays at or below it."""
    return min(w for w in watch if Fraction(sum(v <= w for v in watch), len(watch)) >= p)


def test_a_worked_example():
    # Five plays: 3 of 5 are at or below 30 (60 %), 2 of 5 at or below 20 (40 %); so Q50 = Q60 = 30.
    groups, found, plays = by_group(np.zeros(5, np.int64), np.array([50, 10, 30, 20, 40]), np.ones(5, np.int64))
    assert (groups.tolist(), found.tolist(), plays.tolist()) == ([0], [[30, 30]], [5])
    # Four plays: 2 of 4 at or below 20 (50 %) suffice for Q50; Q60 needs the third.
    assert by_group(np.zeros(4, np.int64), np.array([10, 20, 30, 40]), np.ones(4, np.int64))[1].tolist() == [[20, 30]]


def test_ranks_are_whole_number_ceilings():
    n = np.arange(1, 2001)
    expected = [[math.ceil(Fraction(k) / 2), math.ceil(Fraction(3 * k) / 5)] for k in n.tolist()]
    assert ranks(n).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(1, 4)), max_size=60))
def test_groups_have_the_quantiles_of_the_definition(plays):
    group, watch, count = (np.array([p[i] for p in plays], np.int64) for i in range(3))
    groups, found, counts = by_group(group, watch, count)
    assert groups.tolist() == sorted(set(group.tolist()))
    for g, quantiles, n in zip(groups, found, counts, strict=True):
        own = np.repeat(watch, count)[np.repeat(group, count) == g].tolist()
        assert n == len(own)
        assert quantiles.tolist() == [by_definition(own, Fraction(1, 2)), by_definition(own, Fraction(3, 5))]


@given(st.lists(WATCH, min_size=1, max_size=4))
def test_histograms_merge_exactly(parts):
    made = [histogram(np.zeros(len(p), np.int64), np.array(p), np.ones(len(p), np.int64)) for p in parts]
    bucket, value, count = histogram(*(np.concatenate(c) for c in zip(*made, strict=True)))
    watch = [w for part in parts for w in part]
    assert dict(zip(value.tolist(), count.tolist(), strict=True)) == {w: watch.count(w) for w in watch}
    assert not bucket.any() and (np.diff(value) > 0).all()
    expected = [by_definition(watch, Fraction(1, 2)), by_definition(watch, Fraction(3, 5))]
    assert of_histogram(value, count).tolist() == expected
    shuffled = np.concatenate([m[1] for m in made[::-1]]), np.concatenate([m[2] for m in made[::-1]])
    assert of_histogram(*shuffled).tolist() == expected


def test_nothing_is_no_group():
    empty = np.zeros(0, np.int64)
    assert [len(a) for a in by_group(empty, empty, empty)] == [0, 0, 0]
    assert [len(a) for a in histogram(empty, empty, empty)] == [0, 0, 0]
