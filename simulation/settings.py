"""Settings of the simulated users and of the logs they write."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from components.settings import Strict, TimeZone

#: How the log's files are written.
LogFormat = Literal["parquet", "csv", "csv.gz"]

#: A share between none and all.
Share = Annotated[float, Field(ge=0, le=1)]

#: A number of log-odds; 3 already turns an even chance into 95 %.
LogOdds = Annotated[float, Field(ge=-5, le=5)]

#: More plays per user and day than this would not fit into waking hours.
MAX_PLAYS_PER_USER_DAY = 40


class Platform(Strict):
    """A page of the app on which videos are shown."""

    share: PositiveFloat
    """Sessions spent here, relative to the other platforms."""
    session_plays: Annotated[float, Field(ge=1.5, le=200)]
    """Plays of a session before an even-tempered user leaves (mean of a geometric distribution)."""
    glance_shift: LogOdds = 0.0
    """Added to the log-odds of a glance: on some pages people swipe on faster."""
    followed_share: Share = 0.0
    """Share of the candidates that come from authors the user follows."""
    two_column: bool = False
    """Covers are shown in two columns: a cover that is not opened is logged as a play of 0 ms, and is no skip."""
    opening_bias: LogOdds = -0.5
    """Log-odds that a cover of average appeal is opened; only two-column pages read it."""


class Behaviour(Strict):
    """What moves a user to skip or to stay. Each strength scales one effect; 0 switches it off."""

    glance_bias: LogOdds = -0.55
    """Log-odds of a glance (play under 3 s) for an average user, an average video and an even mood."""
    taste_strength: NonNegativeFloat = 1.0
    """Weight of the match between the user's lasting taste and the video."""
    craving_strength: NonNegativeFloat = 1.0
    """Weight of what the user is after at the moment: it drifts from session to session."""
    mood_strength: NonNegativeFloat = 1.0
    """Weight of the impatience that persists from play to play, and that skips feed."""
    fatigue_strength: NonNegativeFloat = 1.0
    """Weight of having seen enough of a category after several plays of it in a row."""
    loyalty_strength: NonNegativeFloat = 1.0
    """Weight of how the last plays of the same author went."""
    return_strength: NonNegativeFloat = 0.5
    """How much more often content users come back (log of their sessions per unit of contentment)."""
    mood_memory_plays: Annotated[float, Field(ge=1, le=1000)] = 10.0
    """Plays after which a mood has decayed to 1/e, within a session."""
    mood_memory_hours: PositiveFloat = 6.0
    """Hours after which a mood or a craving has decayed to 1/e, between sessions."""


class Exposure(Strict):
    """How the platform chooses what it shows while the log is written."""

    num_candidates: Annotated[int, Field(ge=2, le=1000)] = 12
    """Candidates recalled for every impression (N)."""
    exploration: Share = 0.15
    """Share of the candidates drawn evenly from all videos, whatever their popularity."""
    freshness_boost: NonNegativeFloat = 2.0
    """A new upload counts as this many times more popular, on top of its own popularity."""
    freshness_days: PositiveFloat = 3.0
    """Days after which that boost has decayed to 1/e."""
    taste_weight: NonNegativeFloat = 0.6
    """How well the platform knows the user's taste: weight of the true match beside noise of scale 1."""


def _default_platforms() -> dict[str, Platform]:
    return {
        "featured": Platform(share=6.0, session_plays=14.0),
        "friends": Platform(share=2.0, session_plays=8.0, glance_shift=-0.5, followed_share=0.6),
        "discover": Platform(share=2.0, session_plays=12.0, glance_shift=-0.9, two_column=True),
    }


class Simulation(Strict):
    """Simulated users, videos and plays."""

    seed: NonNegativeInt = 1
    """Equal settings with an equal seed write equal files."""
    num_users: PositiveInt = 4_000
    """Users."""
    num_videos: Annotated[int, Field(ge=10)] = 3_000
    """Videos."""
    num_authors: PositiveInt = 400
    """Authors; the best known have many videos."""
    num_categories: Annotated[int, Field(ge=2, le=200)] = 20
    """Video categories."""
    num_music: PositiveInt = 500
    """Pieces of music under the videos."""
    num_plays: PositiveInt = 200_000
    """Impressions to aim for, over all platforms; the log comes within a few per cent of it
    where a day holds thousands of plays, as the days after make up for what one missed."""
    latent_dims: Annotated[int, Field(ge=1, le=64)] = 6
    """Dimensions of taste beside the categories."""
    first_day: datetime.date = datetime.date(2024, 3, 4)
    """First day of the log, in ``time_zone``."""
    days: Annotated[int, Field(ge=1, le=366)] = 14
    """Days of the log."""
    time_zone: TimeZone = "Asia/Shanghai"
    """IANA time zone in which days begin and in which users wake and sleep."""
    zipf_exponent: Annotated[float, Field(ge=0, le=3)] = 0.6
    """Popularity of the video of rank r is r to the minus this."""
    platforms: Annotated[dict[str, Platform], Field(min_length=1)] = Field(default_factory=_default_platforms)
    """The pages of the app by name."""
    behaviour: Behaviour = Behaviour()
    exposure: Exposure = Exposure()
    format: LogFormat = "parquet"
    """The files that are written; the name is also their ending."""
    duplicate_fraction: Share = 0.01
    """Share of the plays that are delivered twice."""
    bad_row_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.001
    """Broken rows that are added, as a share of the plays."""

    @model_validator(mode="after")
    def _plays_fit_into_days(self) -> Simulation:
        most = self.num_users * self.days * MAX_PLAYS_PER_USER_DAY
        if self.num_plays > most:
            raise ValueError(
                f"num_plays must not exceed {MAX_PLAYS_PER_USER_DAY} per user and day, here {most}. "
                f"Received: num_plays={self.num_plays}, num_users={self.num_users}, days={self.days}."
            )
        return self

    @property
    def feeds(self) -> list[str]:
        """The platforms whose plays are feedback: all but the two-column pages."""
        return [name for name, platform in self.platforms.items() if not platform.two_column]
