"""Settings of the data side. Composed into the one settings model by ``pipeline.settings``."""

from __future__ import annotations

import datetime
import functools
import zoneinfo
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field, PositiveInt, model_validator

from components.features import FeatureSet

#: Columns of ours that a play log must have, and those it may have besides user and video columns.
REQUIRED_PLAY_COLUMNS = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms")
OPTIONAL_PLAY_COLUMNS = ("platform",)


class Strict(pydantic.BaseModel):
    """Base of all settings: unknown keys are refused, values do not change after loading."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def _zone_that_exists(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except Exception as error:
        raise ValueError(f"there is no time zone {name!r}; use an IANA name such as 'Asia/Shanghai'") from error
    return name


#: The IANA name of a time zone.
TimeZone = Annotated[str, pydantic.AfterValidator(_zone_that_exists)]


def to_epoch_ms(value: datetime.date | int, time_zone: str) -> int:
    """Epoch milliseconds of a date's first instant in ``time_zone``; integers are epoch milliseconds already."""
    if isinstance(value, int):
        return value
    start = datetime.datetime(value.year, value.month, value.day, tzinfo=zoneinfo.ZoneInfo(time_zone))
    return int(start.timestamp() * 1000)


#: A date (its first instant in the log's time zone) or epoch milliseconds.
Moment = datetime.date | int


class Plays(Strict):
    """The play log: one row per impression."""

    files: Annotated[list[str], Field(min_length=1)]
    """Paths, globs (``**`` goes across folders) or folders. ``{root}`` is ``data.root``; ``{day}`` becomes each day of
    the window."""
    day_format: str = "%Y%m%d"
    """How ``{day}`` is written (strftime)."""
    allow_missing_days: bool = False
    """Whether a day may have no file; else the run fails and names the day."""
    time_unit: Literal["ms", "s"] = "ms"
    """The unit of ``time_ms`` in the log; seconds may have fractions. Watch times and durations are milliseconds."""
    columns: dict[str, str] = {}
    """Our column name → theirs. Names not listed are taken as they are. Folders like ``day=2024-03-04`` in a file's
    path are columns, too, unless the file has one of that name."""

    def source(self, name: str) -> str:
        """The log's own name of our column ``name``."""
        return self.columns.get(name, name)


class SideTable(Strict):
    """A table of users or of videos, joined to the plays."""

    files: Annotated[list[str], Field(min_length=1)]
    """Paths, globs or folders. ``{root}`` is ``data.root``."""
    key: str
    """The table's own name of the user or video id."""
    columns: Annotated[dict[str, str], Field(min_length=1)]
    """Our column name → theirs: the features taken from the table."""


class Window(Strict):
    """Which plays a run reads, and where training ends."""

    train_from: Moment
    """First day (or ms) of the statistics and training window."""
    evaluate_from: Moment
    """First day of the evaluation window; the statistics window ends before it."""
    evaluate_to: Moment
    """End of the evaluation window, exclusive. Later plays are not read."""


class TimeRange(Strict):
    """The times a play may have at all; rows outside are quarantined."""

    earliest: Moment = 0
    latest: Moment = 4_102_444_800_000
    """Exclusive. The default is the year 2100."""


class Data(Strict):
    """Where the logs are and how their columns are called."""

    root: str = "."
    """Folder that ``{root}`` in file names stands for."""
    time_zone: TimeZone = "UTC"
    """IANA time zone in which dates are meant and in which the hour of day is counted."""
    plays: Plays
    users: SideTable | None = None
    videos: SideTable | None = None
    profile_columns: list[str] = []
    """User columns that stand in the play log itself."""
    video_columns: list[str] = []
    """Video columns that stand in the play log itself (``author_id`` and ``category`` may be among them)."""
    feeds: list[str] | None = None
    """Platforms whose plays count; null takes all. Plays elsewhere are left out, and counted."""
    time_range: TimeRange = TimeRange()
    window: Window
    max_bad_row_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The run fails when more than this share of the rows read is bad."""

    @model_validator(mode="after")
    def _columns_fit(self) -> Data:
        _ = self.features  # raises on a reserved or repeated name
        allowed = {*REQUIRED_PLAY_COLUMNS, *OPTIONAL_PLAY_COLUMNS, *self.profile_columns, *self.video_columns}
        for name in self.plays.columns:
            if name not in allowed:
                raise ValueError(
                    f"data.plays.columns maps {name!r}, which is no column of ours; known are {sorted(allowed)}. "
                    "List a user or video column of the log in data.profile_columns or data.video_columns first."
                )
        start, middle, end = self.window_ms
        if not start < middle < end:
            raise ValueError(
                "data.window must go train_from < evaluate_from < evaluate_to. Received: "
                f"{self.window.train_from}, {self.window.evaluate_from}, {self.window.evaluate_to}."
            )
        earliest, latest = self.time_range_ms
        if not earliest < latest:
            raise ValueError(f"data.time_range is empty: {self.time_range.earliest} to {self.time_range.latest}.")
        return self

    @functools.cached_property
    def features(self) -> FeatureSet:
        """The features that these columns make."""
        from_users = list(self.users.columns) if self.users else []
        from_videos = list(self.videos.columns) if self.videos else []
        twice = [c for c in self.video_columns if c in from_videos]
        if twice:
            raise ValueError(f"The column {twice[0]!r} is declared twice: in data.video_columns and in data.videos.")
        return FeatureSet.of([*self.profile_columns, *from_users], [*self.video_columns, *from_videos])

    @property
    def window_ms(self) -> tuple[int, int, int]:
        """(train_from, evaluate_from, evaluate_to) in epoch milliseconds."""
        w = self.window
        first, middle, last = (to_epoch_ms(t, self.time_zone) for t in (w.train_from, w.evaluate_from, w.evaluate_to))
        return first, middle, last

    @property
    def time_range_ms(self) -> tuple[int, int]:
        """(earliest, latest) in epoch milliseconds, the end exclusive."""
        r = self.time_range
        return to_epoch_ms(r.earliest, self.time_zone), to_epoch_ms(r.latest, self.time_zone)


class DurationEdges(Strict):
    """Log-spaced edges between the duration buckets."""

    first_ms: PositiveInt = 3_000
    last_ms: PositiveInt = 600_000
    count: Annotated[int, Field(ge=2, le=1000)] = 15

    @model_validator(mode="after")
    def _ordered(self) -> DurationEdges:
        if not self.first_ms < self.last_ms:
            raise ValueError(f"first_ms must be below last_ms. Received: {self.first_ms}, {self.last_ms}.")
        return self

    @property
    def edges_ms(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The edges [count] in whole milliseconds; bucket b holds durations in [edges[b-1], edges[b])."""
        return np.unique(np.rint(np.geomspace(self.first_ms, self.last_ms, self.count)).astype(np.int64))


class Quantiles(Strict):
    """Watch-time quantiles (paper, Table 1)."""

    min_plays: PositiveInt = 20
    """A video with fewer plays in the statistics window takes its duration bucket's quantiles."""
    duration_edges: DurationEdges = DurationEdges()
    exact_up_to: PositiveInt = 100_000
    """A video with up to this many plays has exact quantiles. So has one with more, as long as no bucket of users has
    more than this many *different* watch times on it; else the bucket's plays are summed up by a sketch."""
    sketch_eps: Annotated[float, Field(gt=0, le=0.1)] = 0.001
    """Past ``exact_up_to``: by how much the rank of a quantile may be off, as a share of the video's plays."""


class Sequences(Strict):
    """How a user's plays are cut into examples."""

    history_length: PositiveInt = 50
    """Every target has up to this many earlier plays before it in its example, and at most
    ``history_length + targets_per_example - 1``."""
    targets_per_example: PositiveInt | None = None
    """Targets in one example; null means ``history_length``; 1 is the paper's one impression per example."""

    @model_validator(mode="after")
    def _targets_fit(self) -> Sequences:
        if self.targets > self.history_length:
            raise ValueError(
                f"targets_per_example must not exceed history_length. Received: {self.targets} > {self.history_length}."
            )
        return self

    @property
    def targets(self) -> int:
        """Targets per example, the default resolved."""
        return self.targets_per_example or self.history_length


class Components(Strict):
    """What the data components are given (as JSON) for one run."""

    data: Data
    quantiles: Quantiles = Quantiles()
    sequences: Sequences = Sequences()
    num_buckets: PositiveInt = 16
    """Buckets of users, and of videos, that plays are grouped into; the memory of a worker holds a bucket at a time."""
