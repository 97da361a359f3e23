"""Artifact types of skiprank's own, beside TFX's standard ones."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class WatchTimeQuantiles(Artifact):
    """A folder that ``components.watch_time_quantiles.table.QuantileTable.load`` reads."""

    TYPE_NAME = "WatchTimeQuantiles"


class Quarantine(Artifact):
    """A folder with the bad rows as Parquet (file, row, reason, raw) and ``counts.json``."""

    TYPE_NAME = "Quarantine"
