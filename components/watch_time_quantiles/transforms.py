"""Beam: from plays per video bucket to the one table of watch-time quantiles.

All plays of a video lie in one bucket, so its quantiles are taken there; what concerns all videos (duration buckets,
all plays) leaves the bucket as a histogram of watch times, and histograms merge exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from components.play_log.batches import Keyed, concat, ints
from components.play_log.columns import TEXT
from components.play_log.transforms import typed
from components.settings import Quantiles
from components.watch_time_quantiles import quantiles
from components.watch_time_quantiles.table import QuantileTable, duration_bucket

VIDEOS, HISTOGRAM = "videos", "histogram"
_VIDEO_COLUMNS = ("q50_ms", "q60_ms", "plays")
_HISTOGRAM_COLUMNS = ("bucket", "watch_ms", "count")


def bucket_statistics(plays: pa.RecordBatch, settings: Quantiles) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Of all plays of some videos: the videos' own quantiles (those with enough plays), and the histogram.

    Returns:
        ``video_id``, ``q50_ms``, ``q60_ms``, ``plays``; and ``bucket``, ``watch_ms``, ``count``.
    """
    encoded = plays.column("video_id").dictionary_encode()
    watch_ms = ints(plays.column("play_time_ms"))
    groups, own_ms, counts = quantiles.by_group(ints(encoded.indices), watch_ms)
    enough = counts >= settings.min_plays
    own = encoded.dictionary.take(pa.array(groups[enough])).cast(TEXT)
    arrays = [own, *(pa.array(c) for c in (own_ms[enough, 0], own_ms[enough, 1], counts[enough]))]
    bucket = duration_bucket(settings.duration_edges.edges_ms, ints(plays.column("duration_ms")))
    rows = quantiles.histogram(bucket, watch_ms, np.ones_like(watch_ms))
    return (
        pa.RecordBatch.from_arrays(arrays, names=["video_id", *_VIDEO_COLUMNS]),
        pa.RecordBatch.from_arrays([pa.array(c) for c in rows], names=list(_HISTOGRAM_COLUMNS)),
    )


def merge_histograms(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """The histogram of all plays of the histograms given."""
    whole = concat(batches)
    merged = quantiles.histogram(*(ints(whole.column(name)) for name in _HISTOGRAM_COLUMNS))
    return pa.RecordBatch.from_arrays([pa.array(c) for c in merged], names=list(_HISTOGRAM_COLUMNS))


def table_of(videos: Iterable[pa.RecordBatch], histogram: pa.RecordBatch, settings: Quantiles) -> QuantileTable:
    """The table of what :func:`bucket_statistics` found in all buckets."""
    own = concat(videos)
    q50, q60, plays = (ints(own.column(name)) for name in _VIDEO_COLUMNS)
    bucket, watch_ms, count = (ints(histogram.column(name)) for name in _HISTOGRAM_COLUMNS)
    names = own.column("video_id").to_pylist()
    edges = settings.duration_edges.edges_ms
    return QuantileTable.of_statistics(edges, (bucket, watch_ms, count), names, np.stack([q50, q60], axis=1), plays)


class _BucketStatistics(beam.DoFn):
    """:func:`bucket_statistics` of each bucket; all under one key, for there is one table."""

    def __init__(self, settings: Quantiles) -> None:
        self._settings = settings

    def process(self, element: Keyed) -> Iterator[Any]:
        videos, histogram = bucket_statistics(element[1], self._settings)
        yield beam.pvalue.TaggedOutput(VIDEOS, (0, videos))
        # Spread by duration bucket: the merging of histograms is shared out among E+1 keys.
        for bucket in np.unique(ints(histogram.column("bucket"))):
            mask = pa.array(ints(histogram.column("bucket")) == bucket)
            yield beam.pvalue.TaggedOutput(HISTOGRAM, (int(bucket), histogram.filter(mask)))


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
    """Writes the :class:`QuantileTable` of (video bucket, plays) into a folder; writes nothing where no plays are."""

    def __init__(self, settings: Quantiles, directory: str) -> None:
        super().__init__()
        self._settings, self._directory = settings, directory

    def expand(self, plays: Any) -> Any:
        """Builds the steps."""
        found = plays | "Statistics" >> beam.ParDo(_BucketStatistics(self._settings)).with_outputs(VIDEOS, HISTOGRAM)
        histograms = (
            typed(found[HISTOGRAM])
            | "GroupByDuration" >> beam.GroupByKey()
            | "MergeHistograms" >> beam.Map(_merged).with_output_types(Keyed)
        )
        return (
            (typed(found[VIDEOS]), histograms)
            | "All" >> beam.Flatten()
            | "Together" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteTable(self._settings, self._directory))
        )
