"""The answer to a ranking request."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class RankedVideo:
    """One place of a ranked list.

    Attributes:
        rank: Its place, from 1.
        video_id: The video.
        score: What the list is sorted by: the weighted sum of the three probabilities.
        evv: Probability that the user is engaged (watches longer than half of the video's viewers).
        fvv: Probability that the user is focused (watches longer than three fifths of them).
        gvv: Probability that the user only glances (watches for less than 3 seconds).
    """

    rank: int
    video_id: str
    score: float
    evv: float
    fvv: float
    gvv: float


@dataclasses.dataclass(frozen=True)
class RankResponse:
    """A ranked list, best first.

    Attributes:
        videos: The ranked videos, at most as many as the model's list length.
        model: The model's name.
        version: The version that answered.
    """

    videos: tuple[RankedVideo, ...]
    model: str
    version: int

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[RankedVideo]:
        return iter(self.videos)

    def __getitem__(self, index: int) -> RankedVideo:
        return self.videos[index]

    def to_frame(self) -> pd.DataFrame:
        """One row per video: rank, video_id, score, evv, fvv, gvv."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(RankedVideo)]
        return pd.DataFrame([dataclasses.asdict(video) for video in self.videos], columns=columns)
