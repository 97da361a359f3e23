"""When users come, and the loop that lets them play: all users step side by side, each on their own clock.

Shapes: S sessions of a day, P plays, U users of the world.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from simulation.arrays import Bools, Columns, Floats, Ints, concat
from simulation.behaviour import UserState, WatchDistribution, begin_session, leave_probability, respond
from simulation.policy import Policy, Request
from simulation.world import World

#: Between two sessions of a user lie at least this many milliseconds.
SESSION_GAP_MS = 20 * 60_000

#: Shares of the sessions that begin in each hour of a user's day, relative.
_HOURLY = np.array([5, 2, 1, 1, 1, 2, 5, 10, 13, 10, 10, 13, 20, 18, 13, 10, 10, 13, 18, 23, 28, 30, 23, 13])


@dataclasses.dataclass(frozen=True)
class Sessions(Columns):
    """Sessions of a day, sorted by user and start."""

    user: Ints  # [S]
    start_ms: Ints  # [S]
    platform: Ints  # [S]


@dataclasses.dataclass(frozen=True)
class Plays(Columns):
    """Plays as they happened, with the truth behind each."""

    user: Ints  # [P]
    video: Ints  # [P]
    platform: Ints  # [P]
    time_ms: Ints  # [P] when the video was shown, epoch milliseconds
    play_time_ms: Ints  # [P]
    session: Ints  # [P] row of the day's Sessions
    mood: Floats  # [P] the user's mood before the play
    distribution: WatchDistribution  # [P] what the play time was drawn from


def draw_sessions(world: World, state: UserState, day: int, count: int, rng: np.random.Generator) -> Sessions:
    """``count`` sessions on a day of the log, spread over the users by their rates and their contentment.

    For an experiment in which better rankings bring users back, scale ``count`` by :func:`demand`.
    """
    rates = np.cumsum(_rates(world, state, day))
    user = np.searchsorted(rates, rng.random(count) * rates[-1], side="right")
    user = np.minimum(user, len(rates) - 1)
    hours = np.searchsorted(np.cumsum(_HOURLY) / _HOURLY.sum(), rng.random(count), side="right") + rng.random(count)
    hours = (hours + world.users.wakes_late[user]) % 24
    length_ms = world.day_edges_ms[day + 1] - world.day_edges_ms[day]
    start = world.day_edges_ms[day] + (hours / 24 * length_ms).astype(np.int64)
    shares = np.cumsum(world.users.platform_share, axis=1)  # [U, platforms]
    platform = (rng.random((count, 1)) >= shares[user, :-1]).sum(1)
    order = np.lexsort((start, user))
    return Sessions(user.astype(np.int64), start, platform.astype(np.int64))[order]


def demand(world: World, state: UserState, day: int) -> float:
    """Sessions that the users want on a day, relative to what equally many contented users would want."""
    indifferent = dataclasses.replace(state, contentment=np.zeros_like(state.contentment))
    return float(_rates(world, state, day).sum() / _rates(world, indifferent, day).sum())


def _rates(world: World, state: UserState, day: int) -> Floats:
    """Sessions per day of each user [U], relative."""
    users = world.users
    trend = users.session_trend * ((day + 0.5) / world.settings.days - 0.5)
    returns = world.settings.behaviour.return_strength * state.contentment
    return np.asarray(users.session_rate * np.exp(trend + returns), np.float64)


def play_day(
    world: World, state: UserState, policy: Policy, sessions: Sessions, rng: np.random.Generator
) -> Plays | None:
    """Lets the users play through the sessions of one day.

    A session starts late where the one before it lasted into it, and ends with the log at the latest.

    Args:
        world: The population.
        state: The states of all users; changed in place.
        policy: Decides what is shown, and is told what came of it.
        sessions: Sorted by user and start.
        rng: Where chance comes from.

    Returns:
        The plays, ordered by step, then user; None where there are none.
    """
    end_ms = world.day_edges_ms[-1]
    last = np.append(sessions.user[1:] != sessions.user[:-1], True)[: len(sessions.user)]
    now = np.flatnonzero(np.append(True, last[:-1])[: len(last)])  # [n] session that each present user is in
    now = now[_open(world, state, sessions, now, rng)]
    steps: list[Plays] = []
    while len(now):
        users, platforms = sessions.user[now], sessions.platform[now]
        before = state[users]
        # The swipe to the next video, and the moment before its first frame.
        swipe_ms = 150 + np.exp(5.6 + 0.5 * rng.normal(size=len(now))).astype(np.int64)
        request = Request(users, platforms, before.free_at_ms + swipe_ms, before.session_plays)
        shown = policy.show(request, rng)
        play_time_ms, after, truth = respond(world, before, shown, platforms, request.time_ms, rng)
        policy.observe(request, shown, play_time_ms)
        state.write(users, after)
        steps.append(Plays(users, shown, platforms, request.time_ms, play_time_ms, now, before.mood, truth))
        leaves = rng.random(len(now)) < leave_probability(world, after, platforms)
        staying = now[~leaves & (after.free_at_ms < end_ms)]
        coming = now[leaves & ~last[now]] + 1
        now = np.sort(np.concatenate([staying, coming[_open(world, state, sessions, coming, rng)]]))
    if not steps:
        return None
    plays = concat(steps)
    return plays[plays.time_ms < end_ms]


def _open(world: World, state: UserState, sessions: Sessions, now: Ints, rng: np.random.Generator) -> Bools:
    """Begins the sessions ``now`` [n], and tells which of them begin before the log ends."""
    users = sessions.user[now]
    before = state[users]
    start = np.maximum(sessions.start_ms[now], before.free_at_ms + SESSION_GAP_MS)
    state.write(users, begin_session(world, before, start, rng))
    return np.asarray(start < world.day_edges_ms[-1])
