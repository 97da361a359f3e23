"""The three feedback flags of a play (paper, Table 1). Pure."""

from __future__ import annotations

from components.features import GLANCE_MS
from components.watch_time_quantiles.quantiles import Ints


def flags(watch_ms: Ints, thresholds_ms: Ints) -> dict[str, Ints]:
    """The flags, each int64[n]: evv is w > Q50, fvv is w > Q60, gvv is w < 3,000 ms, independent of one another.

    Args:
        watch_ms: int64[n], the watch times w.
        thresholds_ms: int64[n, 2], Q50 and Q60 of each play's video.
    """
    return {
        "evv": (watch_ms > thresholds_ms[:, 0]).astype("int64"),
        "fvv": (watch_ms > thresholds_ms[:, 1]).astype("int64"),
        "gvv": (watch_ms < GLANCE_MS).astype("int64"),
    }
