"""The columns of plays inside the data side, and where the log has them."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from components.settings import Data

IDS = ("user_id", "video_id")
NUMBERS = ("time_ms", "play_time_ms", "duration_ms")

#: Text is 64-bit Arrow text everywhere: a bucket of plays may hold more than 2 GiB of it.
TEXT = pa.large_string()


@dataclasses.dataclass(frozen=True)
class PlayColumns:
    """Which columns of a play log are read.

    Attributes:
        categorical: Text columns besides the ids; '' where the log has no value. ``platform`` comes first.
    """

    categorical: tuple[str, ...]

    @classmethod
    def for_quantiles(cls) -> PlayColumns:
        """What the statistics of watch times need."""
        return cls(("platform",))

    @classmethod
    def of(cls, data: Data) -> PlayColumns:
        """All that the examples need."""
        return cls(("platform", *data.video_columns, *data.profile_columns))

    @property
    def all(self) -> tuple[str, ...]:
        """Our names, in the order of :attr:`schema`."""
        return (*IDS, *self.categorical, *NUMBERS)

    @property
    def schema(self) -> pa.Schema:
        """The schema of batches of plays."""
        return pa.schema([(name, pa.int64() if name in NUMBERS else TEXT) for name in self.all])


def needed(data: Data, name: str) -> bool:
    """Whether a log without the column ``name`` (ours) is an error; only an unmapped ``platform`` may lack."""
    return name != "platform" or data.feeds is not None or name in data.plays.columns


def setting_of(name: str) -> str:
    """The setting that says how the log calls our column ``name``."""
    return f"data.plays.columns.{name}"
