"""What is recalled and shown."""

import numpy as np
import pytest

from simulation.behaviour import initial_state
from simulation.policy import NoisyTastePolicy, PopularPolicy, RandomPolicy, RankingPolicy, Recall, Request
from simulation.sessions import demand, draw_sessions, play_day
from simulation.world import make_world

FEATURED, FRIENDS = 0, 1


@pytest.fixture(scope="module")
def world(tiny):
    return make_world(tiny)


def request(world, day, platform=FEATURED):
    num = world.settings.num_users
    noon = np.full(num, world.day_edges_ms[day] + 12 * 3_600_000)
    return Request(np.arange(num), np.full(num, platform), noon, np.zeros(num, np.int64))


@pytest.mark.parametrize("day", [0, 1, 2])
@pytest.mark.parametrize("platform", [FEATURED, FRIENDS])
def test_candidates_exist_when_they_are_shown(world, day, platform):
    candidates = Recall(world).candidates(request(world, day, platform), np.random.default_rng(0))
    assert candidates.shape == (world.settings.num_users, world.settings.exposure.num_candidates)
    assert (world.videos.upload_ms[candidates] <= world.day_edges_ms[day]).all()


def test_popular_videos_are_recalled_more_often(world):
    candidates = Recall(world).candidates(request(world, 0), np.random.default_rng(0))
    there = world.videos.upload_ms <= world.day_edges_ms[0]
    counts = np.bincount(candidates.ravel(), minlength=world.settings.num_videos)
    assert np.corrcoef(counts[there], world.videos.popularity[there])[0, 1] > 0.7


def test_the_friends_page_shows_followed_authors(world):
    def followed_share(platform):
        candidates = Recall(world).candidates(request(world, 2, platform), np.random.default_rng(0))
        authors = world.videos.author[candidates]  # [U, N]
        return (authors[:, :, None] == world.users.followed[:, None, :]).any(2).mean()

    assert followed_share(FRIENDS) > followed_share(FEATURED) + 0.1


def test_seen_videos_are_remembered_per_user(world):
    recall = Recall(world)
    recall.mark_seen(np.array([1, 2]), np.array([8, 9]))
    seen = recall.seen(np.array([1, 2, 3]), np.array([[8, 9], [8, 9], [8, 9]]))
    assert seen.tolist() == [[True, False], [False, True], [False, False]]


def test_nothing_is_shown_twice_while_there_is_something_new(world):
    policy, rng = RandomPolicy(world), np.random.default_rng(0)
    shown = []
    for _ in range(12):
        asked = request(world, 0)
        videos = policy.show(asked, rng)
        policy.observe(asked, videos, np.zeros_like(videos))
        shown.append(videos)
    assert all(len(set(row)) == 12 for row in np.stack(shown, axis=1).tolist())


def test_policies_differ_in_what_they_favour(world):
    def shown(policy):
        asked = request(world, 2)
        return np.concatenate([policy.show(asked, np.random.default_rng(seed)) for seed in range(20)])

    users = np.tile(np.arange(world.settings.num_users), 20)
    random, popular, taste = (shown(p(world)) for p in (RandomPolicy, PopularPolicy, NoisyTastePolicy))
    assert world.videos.popularity[popular].mean() > 1.5 * world.videos.popularity[random].mean()
    assert world.appeal(users, taste).mean() > world.appeal(users, random).mean() + 0.3


def test_a_better_policy_is_skipped_less_and_brings_users_back(tiny):
    class Oracle(RankingPolicy):
        def scores(self, request, candidates, rng):
            return self.world.appeal(request.user, candidates)

    world = make_world(tiny.model_copy(update={"num_videos": 1_000}))

    def outcome(policy):
        rng, state, glances = np.random.default_rng(0), initial_state(world), []
        for day in range(tiny.days):
            plays = play_day(world, state, policy, draw_sessions(world, state, day, 100, rng), rng)
            glances.append(plays.play_time_ms < 3_000)
        return np.concatenate(glances).mean(), demand(world, state, tiny.days - 1)

    (skipped, wanted), (skipped_random, wanted_random) = outcome(Oracle(world)), outcome(RandomPolicy(world))
    assert skipped < skipped_random - 0.1
    assert wanted > wanted_random * 1.02
