"""Every feature of skiprank, declared once.

The tf.Example schema, the preprocessing, the network's inputs, the served signatures and the client all derive from the
:class:`FeatureSet` of a configuration; nothing else lists features.

Shapes use the project's notation: B users or examples in a batch, H plays in a history, N candidates, P plays in a
window (H earlier plays, then the targets).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

DType = Literal["bytes", "int64"]
Flag = Literal["evv", "fvv", "gvv"]

#: The three feedback flags, in the order of every [..., 3] tensor (paper, Table 1).
FLAGS: tuple[Flag, Flag, Flag] = ("evv", "fvv", "gvv")

#: A glance (GVV) is a watch time below this many milliseconds (paper, Table 1).
GLANCE_MS = 3_000

#: Video columns that every configuration has; '' where the logs do not know them.
STANDARD_VIDEO_COLUMNS = ("author_id", "category")

#: Names a configured column may not take: they already mean something in an example or a request.
RESERVED = frozenset(
    {"user_id", "example_id", "video_id", "platform", "time_ms", "play_time_ms", "duration_ms", "is_target"}
    | {"request_time_ms", "fusion_weights", "examples", "score", "q50_ms", "q60_ms", *FLAGS}
)


@dataclasses.dataclass(frozen=True)
class Feature:
    """One column of the play log, and one feature of the tf.Example."""

    name: str
    dtype: DType


@dataclasses.dataclass(frozen=True)
class SignatureInput:
    """One input of the ``rank`` signature.

    Attributes:
        name: The input's name on the wire.
        dtype: ``bytes`` (string tensors, '' pads) or ``int64`` (0 pads).
        axes: ``B`` one value per user; ``BH`` one per play of the history; ``BN`` one per candidate.
        feature: The play-log feature it carries.
    """

    name: str
    dtype: DType
    axes: Literal["B", "BH", "BN"]
    feature: str


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """The features of one configuration.

    Attributes:
        profile_columns: User columns (categorical), in configured order.
        video_columns: Video columns beyond ``video_id`` (categorical): ``author_id``, ``category``, then the configured
            extra ones.
    """

    profile_columns: tuple[str, ...] = ()
    video_columns: tuple[str, ...] = STANDARD_VIDEO_COLUMNS

    def __post_init__(self) -> None:
        if self.video_columns[:2] != STANDARD_VIDEO_COLUMNS:
            raise ValueError(f"video_columns must begin with {STANDARD_VIDEO_COLUMNS}. Received: {self.video_columns}.")
        names = [*self.profile_columns, *self.video_columns]
        for name in names:
            if name in RESERVED:
                raise ValueError(f"The column name {name!r} is reserved; map the column under another name.")
            if names.count(name) > 1:
                raise ValueError(f"The column {name!r} is declared twice; give one of them another name.")

    @classmethod
    def of(cls, profile_columns: list[str], extra_video_columns: list[str]) -> FeatureSet:
        """The feature set of the configured columns; ``author_id`` and ``category`` are always there."""
        extra = tuple(c for c in extra_video_columns if c not in STANDARD_VIDEO_COLUMNS)
        return cls(tuple(profile_columns), STANDARD_VIDEO_COLUMNS + extra)

    # --- the tf.Example -------------------------------------------------------------------------------------------

    @property
    def context(self) -> tuple[Feature, ...]:
        """One value per example: the user, the example's name, the profile."""
        return tuple(Feature(n, "bytes") for n in ("user_id", "example_id", *self.profile_columns))

    @property
    def video(self) -> tuple[Feature, ...]:
        """What is known of a video wherever it stands, as history or as candidate."""
        return (*(Feature(n, "bytes") for n in ("video_id", *self.video_columns)), Feature("duration_ms", "int64"))

    @property
    def impression(self) -> tuple[Feature, ...]:
        """What is known of an impression when it is shown: where and when."""
        return (Feature("platform", "bytes"), Feature("time_ms", "int64"))

    @property
    def feedback(self) -> tuple[Feature, ...]:
        """What is known only after the play."""
        return (Feature("play_time_ms", "int64"), *(Feature(f, "int64") for f in FLAGS))

    @property
    def plays(self) -> tuple[Feature, ...]:
        """One value per play [P], all lists of an example equally long."""
        return (*self.video, *self.impression, *self.feedback, Feature("is_target", "int64"))

    @property
    def example(self) -> tuple[Feature, ...]:
        """All features of the raw sequence tf.Example."""
        return (*self.context, *self.plays)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Features that are looked up in a vocabulary."""
        return tuple(f.name for f in self.example if f.dtype == "bytes" and f.name != "example_id")

    # --- the rank signature ---------------------------------------------------------------------------------------

    @property
    def rank_inputs(self) -> tuple[SignatureInput, ...]:
        """The inputs of ``rank``, in the order in which the documentation shows them."""
        user = [SignatureInput(n, "bytes", "B", n) for n in ("user_id", *self.profile_columns, "platform")]
        user.append(SignatureInput("request_time_ms", "int64", "B", "time_ms"))
        watched = (*self.video, *self.impression, Feature("play_time_ms", "int64"))
        history = [SignatureInput(f"history_{f.name}", f.dtype, "BH", f.name) for f in watched]
        candidates = [SignatureInput(f"candidate_{f.name}", f.dtype, "BN", f.name) for f in self.video]
        return (*user, *history, *candidates)
