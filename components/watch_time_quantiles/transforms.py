"""Beam: from plays per bucket of users to the one table of watch-time quantiles.

    plays per user bucket ─► counts of watch times per video bucket ─► merged ─► quantiles per video ─┐
                         └─► counts per duration bucket ─► merged ───────────────────────────────────┴► the table

Users share the plays out evenly, videos do not: the plays of a hot one never come together, only their counts do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from components.play_log.batches import Keyed, concat, ints
from components.play_log.transforms import typed
from components.settings import Quantiles
from components.watch_time_quantiles import partial, quantiles
from components.watch_time_quantiles.table import QuantileTable, duration_bucket

PARTIALS, HISTOGRAM = "partials", "histogram"
_HISTOGRAM_COLUMNS = ("bucket", "watch_ms", "count")


def duration_histogram(plays: pa.RecordBatch, settings: Quantiles) -> pa.RecordBatch:
    """The plays by duration bucket and watch time: ``bucket``, ``watch_ms``, ``count``."""
    watch_ms = ints(plays.column("play_time_ms"))
    bucket = duration_bucket(settings.duration_edges.edges_ms, ints(plays.column("duration_ms")))
    rows = quantiles.histogram(bucket, watch_ms, np.ones_like(watch_ms))
    return pa.RecordBatch.from_arrays([pa.array(c) for c in rows], names=list(_HISTOGRAM_COLUMNS))


def merge_histograms(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """The histogram of all plays of the histograms given."""
    whole = concat(batches)
    merged = quantiles.histogram(*(ints(whole.column(name)) for name in _HISTOGRAM_COLUMNS))
    return pa.RecordBatch.from_arrays([pa.array(c) for c in merged], names=list(_HISTOGRAM_COLUMNS))


def table_of(videos: Iterable[pa.RecordBatch], histogram: pa.RecordBatch, settings: Quantiles) -> QuantileTable:
    """The table of :func:`partial.videos_of` all buckets and of the histogram of all plays."""
    own = concat(videos)
    q50, q60, plays = (ints(own.column(name)) for name in ("q50_ms", "q60_ms", "plays"))
    bucket, watch_ms, count = (ints(histogram.column(name)) for name in _HISTOGRAM_COLUMNS)
    return QuantileTable.of_statistics(
        settings.duration_edges.edges_ms,
        (bucket, watch_ms, count),
        own.column("video_id").to_pylist(),
        np.stack([q50, q60], axis=1),
        plays,
        own.column("rank_error").to_numpy(),
    )


class _Count(beam.DoFn):
    """The plays of a bucket of users, counted: by bucket of videos, and by duration bucket."""

    def __init__(self, settings: Quantiles, num_buckets: int) -> None:
        self._settings, self._num_buckets = settings, num_buckets

    def process(self, element: Keyed) -> Iterator[Any]:
        user_bucket, plays = element
        for part in partial.of_plays(user_bucket, plays, self._settings, self._num_buckets):
            yield beam.pvalue.TaggedOutput(PARTIALS, part)
        histogram = duration_histogram(plays, self._settings)
        # Spread by duration bucket: the merging of histograms is shared out among E+1 keys.
        for bucket in np.unique(ints(histogram.column("bucket"))):
            mask = pa.array(ints(histogram.column("bucket")) == bucket)
            yield beam.pvalue.TaggedOutput(HISTOGRAM, (int(bucket), histogram.filter(mask)))


class MergeVideos(beam.CombineFn):
    """The parts of a bucket of videos to its :data:`partial.VIDEOS`."""

    def __init__(self, settings: Quantiles) -> None:
        self._settings = settings

    def create_accumulator(self) -> partial.Partial:
        """No plays."""
        return partial.nothing()

    def add_input(self, accumulator: partial.Partial, element: partial.Partial) -> partial.Partial:
        """One more part."""
        return partial.merged([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[partial.Partial]) -> partial.Partial:
        """All parts."""
        return partial.merged(accumulators)

    def extract_output(self, accumulator: partial.Partial) -> pa.RecordBatch:
        """The videos' quantiles."""
        return partial.videos_of(accumulator, self._settings)


def _merged(element: tuple[int, Iterable[pa.RecordBatch]]) -> Keyed:
    return 0, merge_histograms(element[1])


class _WriteTable(beam.DoFn):
    """Puts the parts together and writes the table."""

    def __init__(self, settings: Quantiles, directory: str) -> None:
        self._settings, self._directory = settings, directory

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> None:
        videos: list[pa.RecordBatch] = []
        histograms: list[pa.RecordBatch] = []
        for batch in element[1]:
            (videos if "video_id" in batch.schema.names else histograms).append(batch)
        table_of(videos, concat(histograms), self._settings).save(self._directory)


class WriteQuantileTable(beam.PTransform):
    """Writes the :class:`QuantileTable` of (user bucket, plays) into a folder; writes nothing where no plays are.

    Args:
        settings: The settings of the quantiles.
        num_buckets: Buckets of videos to share the work among.
        directory: The folder.
    """

    def __init__(self, settings: Quantiles, num_buckets: int, directory: str) -> None:
        super().__init__()
        self._settings, self._num_buckets, self._directory = settings, num_buckets, directory

    def expand(self, plays: Any) -> Any:
        """Builds the steps."""
        count = beam.ParDo(_Count(self._settings, self._num_buckets)).with_outputs(PARTIALS, HISTOGRAM)
        counted = plays | "Count" >> count
        videos = (
            typed(counted[PARTIALS], tuple[int, Any])
            | "MergeVideos" >> beam.CombinePerKey(MergeVideos(self._settings))
            | "Videos" >> beam.Map(lambda element: (0, element[1])).with_output_types(Keyed)
        )
        histograms = (
            typed(counted[HISTOGRAM])
            | "GroupByDuration" >> beam.GroupByKey()
            | "MergeHistograms" >> beam.Map(_merged).with_output_types(Keyed)
        )
        # All under one key, for there is one table.
        return (
            (videos, histograms)
            | "All" >> beam.Flatten()
            | "Together" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteTable(self._settings, self._directory))
        )
