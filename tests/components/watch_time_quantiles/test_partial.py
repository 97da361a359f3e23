"""Counts and sketches of hot videos, against the exact quantiles of the same plays."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.settings import Quantiles
from components.watch_time_quantiles import partial
from components.watch_time_quantiles.quantiles import by_group

EPS = 0.01
SKETCHED = Quantiles(min_plays=1, exact_up_to=50, sketch_eps=EPS)


def batch_of(video_id, watch_ms):
    return pa.record_batch({"video_id": pa.array(video_id, pa.large_string()), "play_time_ms": pa.array(watch_ms)})


def parts_of(user_buckets, config, num_buckets=2):
    """The parts of all buckets of users, by bucket of videos; a bucket of users is {video: its watch times}."""
    parts = {}
    for number, own in enumerate(user_buckets):
        ids = [v for v, watch in own.items() for _ in range(len(watch))]
        for bucket, part in partial.of_plays(
            number, batch_of(ids, np.concatenate([*own.values()])), config, num_buckets
        ):
            parts.setdefault(bucket, []).append(part)
    return parts


def found(user_buckets, config):
    """{video: (q50, q60, plays, rank error)}."""
    batches = [partial.videos_of(partial.merged(p), config) for p in parts_of(user_buckets, config).values()]
    return {r.pop("video_id"): tuple(r.values()) for b in batches for r in b.to_pylist()}


def rank_error(watch_ms, value, over, under):
    """By how many ranks ``value`` misses the quantile; any rank of equal watch times is its own."""
    ordered = np.sort(watch_ms)
    assert value in ordered  # a quantile is an observed watch time, from a sketch, too
    first, last = np.searchsorted(ordered, value, "left") + 1, np.searchsorted(ordered, value, "right")
    rank = -(-over * len(ordered) // under)
    return max(first - rank, rank - last, 0)


SHAPES = st.sampled_from(["lognormal", "uniform", "sorted over buckets", "two heaps", "heavy ties"])


def watch_times(rng, shape, n, bucket):
    if shape == "lognormal":
        return rng.lognormal(9, 1.5, n).astype(np.int64)
    if shape == "sorted over buckets":  # each bucket of users lies above the one before
        return rng.integers(0, 50_000, n) + 50_000 * bucket
    if shape == "two heaps":
        return np.where(rng.random(n) < 0.55, rng.integers(0, 100, n), rng.integers(3_000_000, 3_600_000, n))
    if shape == "heavy ties":
        return np.where(rng.random(n) < 0.5, 15_000, rng.integers(0, 3_600_000, n))
    return rng.integers(0, 3_600_000, n)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), SHAPES, st.lists(st.integers(1, 20_000), min_size=1, max_size=12))
def test_the_stated_error_holds_on_hot_videos(seed, shape, sizes):
    rng = np.random.default_rng(seed)
    buckets = [{"hot": watch_times(rng, shape, n, i)} for i, n in enumerate(sizes)]
    watch = np.concatenate([b["hot"] for b in buckets])
    *quantiles, plays, error = found(buckets, SKETCHED)["hot"]
    assert plays == len(watch)
    assert error == (EPS if any(len(np.unique(b["hot"])) > 50 for b in buckets) else 0)
    for value, (over, under) in zip(quantiles, ((1, 2), (3, 5)), strict=True):
        assert rank_error(watch, value, over, under) <= error * len(watch) + (error > 0)


def test_up_to_the_limit_quantiles_are_exact():
    rng = np.random.default_rng(1)
    # 5,000 plays on a short video are exact with 50 different watch times; so are 50 plays on a long one.
    sizes = {"short": (50, 5_000), "long": (3_600_000, 50), "hot": (3_600_000, 500)}
    buckets = [{v: rng.integers(0, length, n) for v, (length, n) in sizes.items()} for _ in range(3)]
    videos = found(buckets, SKETCHED)
    assert {v: r[3] for v, r in videos.items()} == {"short": 0, "long": 0, "hot": EPS}
    for video in ("short", "long"):
        watch = np.concatenate([b[video] for b in buckets])
        _, exact, plays = by_group(np.zeros_like(watch), watch, np.ones_like(watch))
        assert videos[video][:3] == (*exact[0], plays[0])


def test_neither_order_nor_the_tree_of_merges_changes_a_sketch():
    rng = np.random.default_rng(2)
    buckets = [{"hot": rng.integers(0, 10**6, 3_000), "cold": rng.integers(0, 10**6, 20)} for _ in range(6)]
    expected = found(buckets, SKETCHED)
    shuffled = [{v: rng.permutation(b[v]) for v in ("cold", "hot")} for b in buckets]
    for parts in parts_of(shuffled, SKETCHED).values():
        a, b, c, d, e, f = (pickle.loads(pickle.dumps(parts[i])) for i in rng.permutation(6))
        whole = partial.merged(
            [partial.merged([a, partial.merged([b, c])]), partial.nothing(), partial.merged([d, e, f])]
        )
        for row in partial.videos_of(whole, SKETCHED).to_pylist():
            assert tuple(row.values())[1:] == expected[row["video_id"]]


def test_few_plays_give_no_quantiles_of_their_own():
    config = Quantiles(min_plays=120, exact_up_to=50)
    watch = np.arange(60)
    buckets = [{"hot": watch, "few": watch[:40]}, {"hot": watch, "few": watch[:40]}]
    assert {v: r[2] for v, r in found(buckets, config).items()} == {"hot": 120}
    assert found([{"hot": watch}], config) == {}


@pytest.mark.parametrize("plays", [10**5, 10**6])
def test_what_is_sent_of_a_hot_video_does_not_grow_with_its_plays(plays):
    rng = np.random.default_rng(3)
    config = Quantiles(exact_up_to=20_000)
    for length_ms, size in ((20_000, 1_000_000), (36_000_000, 2_000_000)):  # counts; a sketch
        watch = rng.integers(0, length_ms, plays)
        [(_, part)] = partial.of_plays(0, batch_of(["hot"] * plays, watch), config, 8)
        assert bool(part.sketches) == (length_ms > 20_000)
        assert len(pickle.dumps(part)) < size


def test_a_part_carries_its_own_videos_only():
    ids = [f"{i:04d}" for i in range(4_000)]
    whole = batch_of(ids, np.arange(4_000))
    sizes = [len(pickle.dumps(part)) for _, part in partial.of_plays(0, whole, SKETCHED, 40)]
    assert len(sizes) == 40 and max(sizes) < 10_000
