"""The response to a video, step by step."""

import dataclasses

import numpy as np
import pytest

from components.features import GLANCE_MS as FLAGGED_MS
from simulation.behaviour import (
    GLANCE_MS,
    WatchDistribution,
    begin_session,
    initial_state,
    leave_probability,
    respond,
    watch_distribution,
)
from simulation.world import make_world

NOON = 12 * 3_600_000
FEATURED, FRIENDS, DISCOVER = 0, 1, 2


@pytest.fixture(scope="module")
def world(tiny):
    return make_world(tiny)


@pytest.fixture
def start(world):
    return initial_state(world)


def at_noon(world, start, platform=FEATURED, videos=None):
    """(videos [U], platforms [U], times [U]) of one step for all users."""
    num = len(start.user)
    videos = np.arange(num) if videos is None else np.full(num, videos)
    return videos, np.full(num, platform), np.full(num, world.day_edges_ms[0] + NOON)


def test_a_glance_is_what_the_flags_call_one():
    assert GLANCE_MS == FLAGGED_MS


def test_samples_follow_the_stated_probabilities():
    num = 200_000
    cases = [(1.0, 0.3, 9.0, 0.3, 20_000), (0.4, 0.1, 10.5, 0.6, 8_000), (1.0, 0.8, 7.0, 0.1, 60_000)]
    for case in cases:
        one = WatchDistribution(*(np.array([value]) for value in case))
        many = one[np.zeros(num, np.int64)]
        drawn = many.sample(np.random.default_rng(0))
        duration = case[-1]
        assert drawn.dtype == np.int64
        for threshold in (0, 1_500, 2_999, 6_000, duration - 500, duration + 200, duration + 3_000, 5 * duration):
            expected = one.probability_above(np.array([threshold]))[0]
            assert (drawn > threshold).mean() == pytest.approx(expected, abs=0.006), (case, threshold)


def test_a_step_leaves_the_states_it_was_given(world, start):
    before = {name: getattr(start, name).copy() for name in start.names()}
    videos, platforms, times = at_noon(world, start)
    play_time, after, _ = respond(world, start, videos, platforms, times, np.random.default_rng(0))
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(start, name), value)
    assert play_time.shape == (len(start.user),)
    assert (after.session_plays == 1).all()
    np.testing.assert_array_equal(after.free_at_ms, times + play_time)


def test_skips_irritate_and_plays_soothe(world, start):
    steps = [respond(world, start, *at_noon(world, start), np.random.default_rng(seed)) for seed in range(50)]
    play_time, mood = np.concatenate([s[0] for s in steps]), np.concatenate([s[1].mood for s in steps])
    assert mood[play_time < GLANCE_MS].mean() > mood[play_time >= GLANCE_MS].mean() + 0.25


@pytest.mark.parametrize("factor", ["mood", "craving", "fatigue", "loyalty"])
def test_each_part_of_the_state_moves_glances_unless_switched_off(world, start, factor):
    video = 7
    author, category = world.videos.author[video], world.videos.category[video]
    moved = initial_state(world)
    if factor == "mood":
        moved.mood[:] = 1.0
    elif factor == "loyalty":
        moved.remembered[:, 3] = author
        moved.loyalty[:, 3] = 1.0
    else:
        getattr(moved, factor)[:, category] = 3.0
    step = at_noon(world, start, videos=video)
    change = watch_distribution(world, moved, *step).glance - watch_distribution(world, start, *step).glance
    assert (change * (1 if factor in ("mood", "fatigue") else -1) > 0.01).all()
    behaviour = world.settings.behaviour.model_copy(update={f"{factor}_strength": 0.0})
    indifferent = dataclasses.replace(world, settings=world.settings.model_copy(update={"behaviour": behaviour}))
    change = watch_distribution(indifferent, moved, *step).glance - watch_distribution(indifferent, start, *step).glance
    np.testing.assert_allclose(change, 0, atol=1e-12)


def test_unopened_covers_change_neither_fatigue_nor_memory(world, start):
    videos, platforms, times = at_noon(world, start, platform=DISCOVER)
    play_time, after, truth = respond(world, start, videos, platforms, times, np.random.default_rng(1))
    closed = play_time == 0
    assert 0.2 < closed.mean() < 0.9
    assert (truth.opening < 1).all()
    assert (after.fatigue[closed] == 0).all()
    assert (after.remembered[closed] == -1).all()
    assert (after.fatigue[~closed].sum(1) == 1).all()


def test_the_last_author_moves_to_the_front_of_the_memory(world, start):
    state, rng = start, np.random.default_rng(2)
    by_author = {int(a): int(v) for v, a in enumerate(world.videos.author)}
    authors = list(by_author)[:10]
    for author in [*authors, authors[5]]:
        _, state, _ = respond(world, state, *at_noon(world, start, videos=by_author[author]), rng)
    newest_first = [authors[5], *(a for a in reversed(authors) if a != authors[5])]
    assert (state.remembered == np.array(newest_first[:8])).all()


def test_moods_fade_between_sessions(world, start):
    rng, hour = np.random.default_rng(3), 3_600_000
    mood = rng.normal(size=len(start.user))
    left = dataclasses.replace(start, mood=mood, free_at_ms=np.full(len(mood), NOON))
    soon = begin_session(world, left, left.free_at_ms + hour // 60, rng)
    late = begin_session(world, left, left.free_at_ms + 48 * hour, rng)
    assert np.corrcoef(soon.mood, mood)[0, 1] > 0.95
    assert abs(np.corrcoef(late.mood, mood)[0, 1]) < 0.4
    assert late.craving.std() == pytest.approx(0.7, abs=0.05)
    assert (late.session_plays == 0).all()


def test_the_irritated_leave_sooner(world, start):
    platforms = np.full(len(start.user), FRIENDS)
    even = leave_probability(world, start, platforms)
    np.testing.assert_allclose(even, 1 / world.platforms[FRIENDS].session_plays)
    irritated = dataclasses.replace(start, mood=np.ones_like(start.mood))
    content = dataclasses.replace(start, contentment=np.ones_like(start.mood))
    assert (leave_probability(world, irritated, platforms) > even).all()
    assert (leave_probability(world, content, platforms) < even).all()
