"""How a user responds to a video, and what the play does to the user.

The step is pure: given the states of U users and the video shown to each, :func:`respond` returns the play times and
the states after the play. Shapes: U users of the step, C categories, R remembered authors.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.arrays import Bools, Columns, Floats, Ints
from simulation.world import World

#: A play below this many milliseconds is a glance (GVV; paper, Table 1).
GLANCE_MS = 3_000

#: Authors whose last plays a user remembers.
NUM_REMEMBERED = 8

#: Scale of the logistic log watch time of a user who is caught (a spread of about 0.75).
LOG_STAY_SCALE = 0.41

#: Nobody loops a video longer than this.
MAX_PLAY_MS = 900_000

#: A player needs up to this long to move on from the end of a video.
END_LAG_MS = 400

#: Shortest glance.
_MIN_GLANCE_MS = 200
#: Curvature of the distribution of glances between the shortest and GLANCE_MS: above 1 leans to the long end.
_GLANCE_SHAPE = 1.25
#: Spreads at rest of the mood and of a craving.
_MOOD_SPREAD = 0.8
_CRAVING_SPREAD = 0.7
#: What a glance, and a play that is none, adds to the impatience.
_GLANCE_IRRITATES, _PLAY_SOOTHES = 0.25, -0.1
#: Share of the fatigue with a category that stays after each play.
_FATIGUE_MEMORY = 0.8
#: Share of the loyalty to an author that stays after a play of that author.
_LOYALTY_MEMORY = 0.7
#: Share of the contentment that stays after each play.
_CONTENT_MEMORY = 0.97


def _sigmoid(log_odds: Floats) -> Floats:
    """The probabilities of these log-odds."""
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float64)


@dataclasses.dataclass(frozen=True)
class UserState(Columns):
    """What changes in U users while they play."""

    user: Ints  # [U] indices into the population
    mood: Floats  # [U] impatience in log-odds of a glance; 0 is even
    craving: Floats  # [U, C] what the user is after at the moment
    fatigue: Floats  # [U, C] decayed count of the last plays of each category
    remembered: Ints  # [U, R] authors, newest first; -1 where there is none yet
    loyalty: Floats  # [U, R] how the plays of these authors went
    contentment: Floats  # [U] slow average of how the plays went; 0 is average
    session_plays: Ints  # [U] plays since the session began
    free_at_ms: Ints  # [U] end of the last play, epoch milliseconds


@dataclasses.dataclass(frozen=True)
class WatchDistribution(Columns):
    """The distribution of U watch times: unopened, a glance, or a log-logistic stay that may end with the video."""

    opening: Floats  # [U] probability that the video is opened; 1 on a feed
    glance: Floats  # [U] probability of a glance, once opened
    log_stay: Floats  # [U] median of the log milliseconds beyond GLANCE_MS, where it is no glance
    loop: Floats  # [U] probability of watching on beyond the end
    duration_ms: Ints  # [U]

    def sample(self, rng: np.random.Generator) -> Ints:
        """One watch time for each [U], in milliseconds; 0 where the video is not opened."""
        num = len(self.glance)
        glances = _MIN_GLANCE_MS + (GLANCE_MS - _MIN_GLANCE_MS) * rng.random(num) ** (1 / _GLANCE_SHAPE)
        stays = GLANCE_MS + np.exp(rng.logistic(self.log_stay, LOG_STAY_SCALE))
        ends = self.duration_ms + END_LAG_MS * rng.random(num)
        stays = np.where((stays > ends) & (rng.random(num) >= self.loop), ends, stays)
        watched = np.where(rng.random(num) < self.glance, np.minimum(glances, GLANCE_MS - 1), stays)
        watched = np.minimum(watched, MAX_PLAY_MS)
        return np.where(rng.random(num) < self.opening, watched, 0).astype(np.int64)

    def probability_above(self, threshold_ms: Floats | Ints) -> Floats:
        """The probability [U] of watching longer than ``threshold_ms`` [U] ≥ 0.

        Exact but for the moments between the end of a video and END_LAG_MS later, where it is off by a hair.
        """
        threshold = np.asarray(threshold_ms, np.float64)
        span = np.clip((threshold - _MIN_GLANCE_MS) / (GLANCE_MS - _MIN_GLANCE_MS), 0, 1)
        glances_above = 1 - span**_GLANCE_SHAPE
        stays_above = self._intends_above(threshold)
        # Of those who would stay beyond the end, only the loopers pass it; the others stop within the lag.
        lag = np.clip((threshold - self.duration_ms) / END_LAG_MS, 0, 1)
        stays_above = np.where(threshold > self.duration_ms, stays_above * self.loop, stays_above)
        stopped = self._intends_above(self.duration_ms + END_LAG_MS / 2) * (1 - self.loop) * (1 - lag)
        stays_above += np.where(threshold > self.duration_ms, stopped, 0)
        return self.opening * (self.glance * glances_above + (1 - self.glance) * stays_above)

    def _intends_above(self, threshold_ms: npt.NDArray[np.floating[Any]]) -> Floats:
        """The probability [U] that a caught user means to stay beyond ``threshold_ms``, were there no end."""
        beyond = np.log(np.maximum(threshold_ms - GLANCE_MS, 1e-3))
        return _sigmoid((self.log_stay - beyond) / LOG_STAY_SCALE)


def initial_state(world: World) -> UserState:
    """The states of all users of the world before their first session."""
    num, categories = world.settings.num_users, world.settings.num_categories
    return UserState(
        user=np.arange(num),
        mood=np.zeros(num),
        craving=np.zeros((num, categories)),
        fatigue=np.zeros((num, categories)),
        remembered=np.full((num, NUM_REMEMBERED), -1),
        loyalty=np.zeros((num, NUM_REMEMBERED)),
        contentment=np.zeros(num),
        session_plays=np.zeros(num, np.int64),
        free_at_ms=np.zeros(num, np.int64),
    )


def begin_session(world: World, state: UserState, time_ms: Ints, rng: np.random.Generator) -> UserState:
    """The states [U] of users who open the app at ``time_ms`` [U]: mood and cravings have drifted meanwhile."""
    hours = np.maximum(time_ms - state.free_at_ms, 0) / 3_600_000
    kept = np.exp(-hours / world.settings.behaviour.mood_memory_hours)  # [U]
    renewed = np.sqrt(1 - kept**2)
    mood = kept * state.mood + renewed * _MOOD_SPREAD * rng.normal(size=len(kept))
    drawn = _CRAVING_SPREAD * rng.normal(size=state.craving.shape)
    return dataclasses.replace(
        state,
        mood=mood,
        craving=kept[:, None] * state.craving + renewed[:, None] * drawn,
        fatigue=kept[:, None] * state.fatigue,
        session_plays=np.zeros_like(state.session_plays),
        free_at_ms=time_ms,
    )


def watch_distribution(
    world: World, state: UserState, videos: Ints, platforms: Ints, time_ms: Ints
) -> WatchDistribution:
    """How long each of U users will watch the video shown, given all that moves them.

    Args:
        world: The population.
        state: The users' states before the play.
        videos: The video shown to each user [U].
        platforms: Codes of the platforms it is shown on [U].
        time_ms: When it is shown [U], epoch milliseconds.
    """
    users, films, strength = world.users, world.videos, world.settings.behaviour
    category, duration = films.category[videos], films.duration_ms[videos]
    rows = np.arange(len(videos))
    remembered = np.where(state.remembered == films.author[videos][:, None], state.loyalty, 0.0).sum(1)
    liking = (
        world.appeal(state.user, videos)
        + strength.craving_strength * state.craving[rows, category]
        + strength.loyalty_strength * remembered
        - strength.fatigue_strength * 0.35 * np.maximum(state.fatigue[rows, category] - 1, 0)
    )
    # People on their way to work swipe on; late at night they stay.
    hour = world.local_hour(time_ms)
    hurry = 0.3 * np.cos((hour - 8) / 24 * 2 * np.pi)
    unrest = strength.mood_strength * state.mood + users.impatience[state.user] + hurry
    # Long videos lose a few more of their viewers at once.
    length = np.log(duration / 20_000)
    log_odds = (
        strength.glance_bias + world.of_platform("glance_shift")[platforms] + 0.15 * length + unrest - 1.1 * liking
    )
    log_stay = np.log(duration) - 0.9 - 0.35 * length + 0.4 * liking - 0.2 * unrest + users.attention[state.user]
    two_column = world.of_platform("two_column")[platforms] > 0
    opening = _sigmoid(world.of_platform("opening_bias")[platforms] + 0.6 * liking - 0.5 * unrest)
    return WatchDistribution(
        opening=np.where(two_column, opening, 1.0),
        glance=_sigmoid(log_odds),
        log_stay=log_stay,
        loop=_sigmoid(-0.8 - 1.2 * length + 0.5 * liking),
        duration_ms=duration,
    )


def respond(
    world: World, state: UserState, videos: Ints, platforms: Ints, time_ms: Ints, rng: np.random.Generator
) -> tuple[Ints, UserState, WatchDistribution]:
    """Lets each of U users play the video shown.

    Args:
        world: The population.
        state: The users' states before the play; left as they are.
        videos: The video shown to each user [U].
        platforms: Codes of the platforms it is shown on [U].
        time_ms: When it is shown [U], epoch milliseconds.
        rng: Where chance comes from.

    Returns:
        The play times [U] in milliseconds, the states after the play, and the distribution the times were drawn from.
    """
    distribution = watch_distribution(world, state, videos, platforms, time_ms)
    play_time_ms = distribution.sample(rng)
    # An unopened cover tells the user nothing about the video.
    opened = (play_time_ms > 0) | (distribution.opening >= 1)
    after = _after_play(world, state, videos, play_time_ms, opened, rng)
    return play_time_ms, dataclasses.replace(after, free_at_ms=time_ms + play_time_ms), distribution


def _after_play(
    world: World, state: UserState, videos: Ints, play_time_ms: Ints, opened: Bools, rng: np.random.Generator
) -> UserState:
    films, memory = world.videos, world.settings.behaviour.mood_memory_plays
    num = len(videos)
    glanced = opened & (play_time_ms < GLANCE_MS)
    kept = np.exp(-1 / memory)
    jolt = np.where(opened, np.where(glanced, _GLANCE_IRRITATES, _PLAY_SOOTHES), 0.0)
    drift = _MOOD_SPREAD * np.sqrt(1 - kept**2) * rng.normal(size=num)
    fatigue = np.where(opened, _FATIGUE_MEMORY, 1.0)[:, None] * state.fatigue
    fatigue[np.arange(num), films.category[videos]] += opened
    share = np.minimum(play_time_ms / films.duration_ms[videos], 1.0)
    verdict = np.where(glanced, -0.6, 1.2 * share - 0.3)  # how well the play went, about 0 on average
    remembered, loyalty = _remember(state, films.author[videos], np.where(opened, verdict, 0.0), opened)
    contentment = _CONTENT_MEMORY * state.contentment + (1 - _CONTENT_MEMORY) * (verdict - 0.15)
    return dataclasses.replace(
        state,
        mood=kept * state.mood + drift + jolt,
        fatigue=fatigue,
        remembered=remembered,
        loyalty=loyalty,
        contentment=np.where(opened, contentment, state.contentment),
        session_plays=state.session_plays + 1,
    )


def _remember(state: UserState, author: Ints, verdict: Floats, opened: Bools) -> tuple[Ints, Floats]:
    """The remembered authors and loyalties [U, R] after a play of ``author`` [U]: it moves to the front."""
    places = np.arange(NUM_REMEMBERED)
    same = state.remembered == author[:, None]
    place = np.where(same.any(1), same.argmax(1), NUM_REMEMBERED - 1)  # [U] where the author stood, or the oldest
    before = np.where(same, state.loyalty, 0.0).sum(1)
    # Everything in front of that place moves one back.
    source = np.where(places[None, :] <= place[:, None], places - 1, places)  # [U, R]; -1 is the new entry
    moved_authors = np.take_along_axis(state.remembered, np.maximum(source, 0), axis=1)
    moved_loyalty = np.take_along_axis(state.loyalty, np.maximum(source, 0), axis=1)
    moved_authors[:, 0] = author
    moved_loyalty[:, 0] = _LOYALTY_MEMORY * before + verdict
    keep = opened[:, None]
    return np.where(keep, moved_authors, state.remembered), np.where(keep, moved_loyalty, state.loyalty)


def leave_probability(world: World, state: UserState, platforms: Ints) -> Floats:
    """The probability [U] that a user, after the play just ended, closes the platform's page."""
    usual = 1 / world.of_platform("session_plays")[platforms]
    return np.clip(usual * np.exp(0.3 * state.mood - 0.4 * state.contentment), 0.0, 0.9)
