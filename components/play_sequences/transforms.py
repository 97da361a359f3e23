"""Beam: from a play log to examples, one record batch per bucket of users.

    ReadPlays ─► plays per video bucket ─► join videos, flag ─► GroupByKey ─► plays per user bucket, sorted, joined
                 (deduplicated)                                              └─► windows ─► examples

Entry points for other pipelines (bulk scoring, say), all parametrised by ``components.settings.Components``:

    with beam.Pipeline(options=options) as p:
        plays = p | UserPlays(settings, window=(from_ms, to_ms), quantiles=folder)   # folder None: flags are 0
        examples = plays.keyed | UserExamples(settings, [Segment("score", start_ms, to_ms)])

``plays.keyed`` holds (user bucket, record batch): all plays of the bucket's users inside ``window``, sorted by user,
time and video, with the columns of :func:`flagged_columns` (``time_ms``, ``play_time_ms``, ``duration_ms``, ``evv``,
``fvv``, ``gvv`` are int64, the others text). A user's plays are never split over batches. ``plays.bad`` and
``plays.counts`` may be ignored, or the counts given to ``components.play_log.transforms.WriteCounts`` and checked by
``Counts.check_log``. ``examples`` holds (segment name, record batch of examples), one row per window with a list per
feature: plays before the segment's start are history only, those inside are targets.
``components.play_sequences.examples.Encoder().encode(batch)`` makes tf.Examples of it. To read other files than the
configuration's, give it other settings (``settings.model_copy(update=...)``); for windows of another kind, take
``windows.cut`` and ``examples.example_batches``, which are pure, to the batches of ``plays.keyed``.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from components.features import FLAGS
from components.play_log.batches import Keyed, ints, split_by_bucket, with_columns
from components.play_log.columns import PlayColumns
from components.play_log.counts import Counts
from components.play_log.side_tables import Key, join
from components.play_log.transforms import Read, ReadPlays, ReadSideTable, plays_and_side_table, typed
from components.play_sequences.examples import Encoder, bounds_of, example_batches, sort_plays
from components.play_sequences.flags import flags
from components.play_sequences.windows import Segment, cut
from components.settings import Components, SideTable
from components.watch_time_quantiles.table import QuantileTable

EXAMPLES_PREFIX = "data_tfrecord"


def flagged_columns(settings: Components) -> tuple[str, ...]:
    """The columns of the batches of :class:`UserPlays`."""
    data = settings.data
    joined = [*(data.videos.columns if data.videos else ()), *FLAGS, *(data.users.columns if data.users else ())]
    return (*PlayColumns.of(data).all, *joined)


@functools.lru_cache(maxsize=2)
def _table(directory: str) -> QuantileTable:
    """The table, loaded once per worker."""
    return QuantileTable.load(directory)


def flag_plays(plays: pa.RecordBatch, table: QuantileTable | None) -> pa.RecordBatch:
    """The plays with their flags behind; zeros without a table."""
    if table is None:
        return with_columns(plays, {flag: pa.repeat(pa.scalar(0, pa.int64()), plays.num_rows) for flag in FLAGS})
    thresholds = table.thresholds(plays.column("video_id"), ints(plays.column("duration_ms")))
    found = flags(ints(plays.column("play_time_ms")), thresholds)
    return with_columns(plays, {flag: pa.array(found[flag]) for flag in FLAGS})


class _FlagPlays(beam.DoFn):
    """The plays of a video bucket, joined with the videos and flagged, by user bucket."""

    def __init__(self, videos: SideTable | None, quantiles: str | None, num_buckets: int) -> None:
        self._columns = list(videos.columns) if videos else []
        self._quantiles, self._num_buckets = quantiles, num_buckets

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        plays, rows = plays_and_side_table(element[1])
        if plays is not None:
            joined = join(plays, rows, "video_id", self._columns)
            flagged = flag_plays(joined, _table(self._quantiles) if self._quantiles else None)
            yield from split_by_bucket(flagged, "user_id", self._num_buckets)


class _SortPlays(beam.DoFn):
    """The plays of a user bucket, joined with the users and in order."""

    def __init__(self, users: SideTable | None) -> None:
        self._columns = list(users.columns) if users else []

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        plays, rows = plays_and_side_table(element[1])
        if plays is not None:
            yield element[0], join(sort_plays(plays), rows, "user_id", self._columns)


class UserPlays(beam.PTransform):
    """All plays of each user inside a window, deduplicated, joined, flagged and in order. See the module's text.

    Args:
        settings: The settings of the data side.
        window: Which plays are taken: [start, end) in epoch milliseconds.
        quantiles: The folder of the :class:`QuantileTable`; None leaves all flags 0.

    Returns (from ``expand``):
        A :class:`Read`: (user bucket, batch with :func:`flagged_columns`), bad rows, counts to be summed.
    """

    def __init__(self, settings: Components, window: tuple[int, int], quantiles: str | None) -> None:
        super().__init__()
        self._settings, self._window, self._quantiles = settings, window, quantiles

    def expand(self, root: Any) -> Read:
        """Builds the steps; raises InputError where a pattern matches no file."""
        data, num_buckets = self._settings.data, self._settings.num_buckets
        plays = root | "ReadPlays" >> ReadPlays(data, PlayColumns.of(data), self._window, num_buckets)
        videos = self._side_table(root, data.videos, "video_id")
        users = self._side_table(root, data.users, "user_id")
        by_video = _together("Videos", plays.keyed, videos)
        flagged = by_video | "Flag" >> beam.ParDo(_FlagPlays(data.videos, self._quantiles, num_buckets))
        by_user = _together("Users", typed(flagged), users)
        ordered = by_user | "Sort" >> beam.ParDo(_SortPlays(data.users))
        tables = [t for t in (videos, users) if t is not None]
        bad = (plays.bad, *(t.bad for t in tables)) | "AllBad" >> beam.Flatten()
        counts = (plays.counts, *(t.counts for t in tables)) | "AllCounts" >> beam.Flatten()
        return Read(typed(ordered), typed(bad, pa.RecordBatch), counts)

    def _side_table(self, root: Any, table: SideTable | None, key: Key) -> Read | None:
        if table is None:
            return None
        reader = ReadSideTable(self._settings.data, table, key, self._settings.num_buckets)
        return root | f"Read[{key}]" >> reader


def _together(label: str, plays: Any, table: Read | None) -> Any:
    """Plays and the rows of a side table in one group per bucket."""
    parts = (plays, table.keyed) if table else (plays,)
    return typed(parts | f"Merge{label}" >> beam.Flatten()) | f"GroupBy{label}" >> beam.GroupByKey()


class _Windows(beam.DoFn):
    """The examples of a user bucket, by segment."""

    def __init__(self, settings: Components, segments: Sequence[Segment]) -> None:
        self._settings, self._segments = settings, tuple(segments)

    def process(self, element: Keyed) -> Iterator[Any]:
        for segment in self._segments:
            for batch in segment_examples(element[1], segment, self._settings)[1]:
                yield segment.name, batch


def segment_examples(
    plays: pa.RecordBatch, segment: Segment, settings: Components
) -> tuple[Counts, Iterator[pa.RecordBatch]]:
    """The examples of a segment of sorted plays: how many examples and targets, and batches of them."""
    sequences = settings.sequences
    windows = cut(bounds_of(plays), ints(plays.column("time_ms")), segment, sequences.history_length, sequences.targets)
    counts = Counts(examples={segment.name: len(windows)}, targets={segment.name: windows.targets})
    return counts, example_batches(plays, windows, settings.data.features)


class UserExamples(beam.PTransform):
    """(user bucket, plays of :class:`UserPlays`) to (segment name, batch of examples)."""

    def __init__(self, settings: Components, segments: Sequence[Segment]) -> None:
        super().__init__()
        self._settings, self._segments = settings, segments

    def expand(self, plays: Any) -> Any:
        """Builds the step."""
        examples = plays | "Windows" >> beam.ParDo(_Windows(self._settings, self._segments))
        return typed(examples, tuple[str, pa.RecordBatch])


class _WriteBucket(beam.DoFn):
    """Writes the examples of a user bucket: one gzipped TFRecord file per split that has any."""

    def __init__(self, settings: Components, segments: Sequence[Segment], folders: dict[str, str]) -> None:
        self._settings, self._segments, self._folders = settings, tuple(segments), folders

    def setup(self) -> None:
        self._encoder = Encoder()

    def process(self, element: Keyed) -> Iterator[Counts]:
        bucket, plays = element
        name = f"{EXAMPLES_PREFIX}-{bucket:05d}-of-{self._settings.num_buckets:05d}.gz"
        for segment in self._segments:
            counts, batches = segment_examples(plays, segment, self._settings)
            yield counts
            if counts.examples[segment.name]:
                encoded = (example for batch in batches for example in self._encoder.encode(batch))
                write_records(encoded, os.path.join(self._folders[segment.name], name))


def write_records(records: Iterable[bytes], path: str) -> None:
    """Writes a gzipped TFRecord file; it is there in whole or not at all, also where Beam runs a bundle twice."""
    import tensorflow as tf

    folder, name = os.path.split(path)
    begun = os.path.join(os.path.dirname(folder), f".begun-{uuid.uuid4().hex}-{os.path.basename(folder)}-{name}")
    with tf.io.TFRecordWriter(begun, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for record in records:
            writer.write(record)
    tf.io.gfile.rename(begun, path, overwrite=True)


class WriteExamples(beam.PTransform):
    """Writes the examples of (user bucket, plays) as TFRecords and yields counts of examples and targets.

    A file holds the examples of one bucket of users in their order, so equal plays make equal files.

    Args:
        settings: The settings of the data side.
        segments: The splits.
        folders: The folder of each split, by name; made when the pipeline is built.
    """

    def __init__(self, settings: Components, segments: Sequence[Segment], folders: dict[str, str]) -> None:
        super().__init__()
        self._settings, self._segments, self._folders = settings, segments, folders

    def expand(self, plays: Any) -> Any:
        """Builds the step."""
        for folder in self._folders.values():
            if not FileSystems.exists(folder):
                FileSystems.mkdirs(folder)
        return plays | "Encode" >> beam.ParDo(_WriteBucket(self._settings, self._segments, self._folders))
