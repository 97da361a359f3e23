"""The exposure policy: which video is shown to whom.

A policy is anything with the two methods of :class:`Policy`. A served model takes part as a :class:`RankingPolicy` that
scores the candidates; the histories it needs it keeps in ``observe``. Shapes: U users of the step, N candidates,
V videos.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Protocol

import numpy as np

from simulation.arrays import Bools, Floats, Ints
from simulation.world import DAY_MS, World


@dataclasses.dataclass(frozen=True)
class Request:
    """U users who each want one video."""

    user: Ints  # [U] indices into the population
    platform: Ints  # [U] platform codes
    time_ms: Ints  # [U] epoch milliseconds
    session_plays: Ints  # [U] plays since the session began; 0 at its start


class Policy(Protocol):
    """Chooses what is shown, and sees what became of it."""

    def show(self, request: Request, rng: np.random.Generator) -> Ints:
        """The video [U] to show to each user."""

    def observe(self, request: Request, videos: Ints, play_time_ms: Ints) -> None:
        """Takes note of the plays [U] that followed."""


class Recall:
    """Candidates by popularity, freshness, exploration and followed authors; it knows what users have seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cumulative = np.stack([np.cumsum(self._weights(d)) for d in range(world.settings.days)])  # [days, V]
        self._cumulative /= self._cumulative[:, -1:]
        # One long increasing array, day d in (d, d + 1], lets a single search serve all days.
        self._search_in = (self._cumulative + np.arange(world.settings.days)[:, None]).ravel()
        # A bit for each user and video.
        self._seen = np.zeros((world.settings.num_users, (world.settings.num_videos + 7) // 8), np.uint8)

    def _weights(self, day: int) -> Floats:
        """Relative exposure [V] on a day; 0 before the day after the upload."""
        world, exposure = self._world, self._world.settings.exposure
        age_days = (world.day_edges_ms[day] - world.videos.upload_ms) / DAY_MS
        there = age_days >= 0
        fresh = 1 + exposure.freshness_boost * np.exp(-np.maximum(age_days, 0) / exposure.freshness_days)
        popular = there * world.videos.popularity * fresh
        mixed: Floats = (
            1 - exposure.exploration
        ) * popular / popular.sum() + exposure.exploration * there / there.sum()
        return mixed

    def candidates(self, request: Request, rng: np.random.Generator) -> Ints:
        """Candidates [U, N] for each user; some may repeat; all were uploaded before the day of the request."""
        world, num = self._world, self._world.settings.exposure.num_candidates
        shape = (len(request.user), num)
        days = world.day_of(request.time_ms)
        num_videos = world.settings.num_videos
        # The upper end of the day's own stretch is excluded, or rounding could reach the next day's first video.
        points = np.minimum(rng.random(shape), 1 - 1e-9) + days[:, None]
        drawn = np.searchsorted(self._search_in, points, side="right") - days[:, None] * num_videos
        drawn = np.minimum(drawn, num_videos - 1)
        from_followed = rng.random(shape) < world.of_platform("followed_share")[request.platform][:, None]
        if from_followed.any():
            rows, _ = np.nonzero(from_followed)
            followed = self._from_followed(request.user[rows], rng)
            there = world.videos.upload_ms[followed] <= world.day_edges_ms[days[rows]]
            drawn[from_followed] = np.where(there, followed, drawn[from_followed])
        return drawn.astype(np.int64)

    def _from_followed(self, users: Ints, rng: np.random.Generator) -> Ints:
        """A random video of a random followed author for each user [n]; any video where the author has none."""
        films, followed = self._world.videos, self._world.users.followed
        authors = followed[users, rng.integers(followed.shape[1], size=len(users))]
        start, count = films.author_start[authors], films.author_start[authors + 1] - films.author_start[authors]
        place = start + (rng.random(len(users)) * count).astype(np.int64)
        return films.by_author[np.minimum(place, len(films.by_author) - 1)]

    def seen(self, users: Ints, videos: Ints) -> Bools:
        """Whether the users [U] were shown the videos [U, N] before."""
        return (self._seen[users[:, None], videos >> 3] >> (videos & 7) & 1).astype(np.bool_)

    def mark_seen(self, users: Ints, videos: Ints) -> None:
        """Notes that the users [U], each at most once, were shown the videos [U]."""
        self._seen[users, videos >> 3] |= (1 << (videos & 7)).astype(np.uint8)


class RankingPolicy(abc.ABC):
    """Recalls candidates, leaves out what the user has seen, and shows the best of the others."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recall = Recall(world)

    @abc.abstractmethod
    def scores(self, request: Request, candidates: Ints, rng: np.random.Generator) -> Floats:
        """What the candidates [U, N] are ranked by, descending; finite."""

    def show(self, request: Request, rng: np.random.Generator) -> Ints:
        """The best candidate [U] of each user; one seen before only where all are."""
        candidates = self.recall.candidates(request, rng)  # [U, N]
        scores = self.scores(request, candidates, rng)
        unseen = np.where(self.recall.seen(request.user, candidates), -np.inf, scores)
        best = np.where(np.isinf(unseen).all(1), scores.argmax(1), unseen.argmax(1))
        return np.take_along_axis(candidates, best[:, None], axis=1)[:, 0]

    def observe(self, request: Request, videos: Ints, play_time_ms: Ints) -> None:
        """Marks the videos as seen."""
        self.recall.mark_seen(request.user, videos)


class RandomPolicy(RankingPolicy):
    """Shows any candidate: what is popular is recalled more often, and that is all."""

    def scores(self, request: Request, candidates: Ints, rng: np.random.Generator) -> Floats:
        """Noise [U, N]."""
        return rng.gumbel(size=candidates.shape)


class PopularPolicy(RankingPolicy):
    """Shows the most popular candidate."""

    def scores(self, request: Request, candidates: Ints, rng: np.random.Generator) -> Floats:
        """Popularity [U, N]."""
        return np.asarray(self.world.videos.popularity[candidates])


class NoisyTastePolicy(RankingPolicy):
    """Ranks by a noisy view of the users' true taste: the recommender that the demo's log was written under."""

    def scores(self, request: Request, candidates: Ints, rng: np.random.Generator) -> Floats:
        """True appeal, at the settings' weight, beside noise of scale 1 [U, N]."""
        known = self.world.appeal(request.user, candidates)
        return self.world.settings.exposure.taste_weight * known + rng.gumbel(size=candidates.shape)
