"""Beam: from the files of a play log to deduplicated plays per bucket.

    files ─► parts ─► parsed plays, keyed by bucket ─► GroupByKey ─► deduplicated plays per bucket of videos or users
                  ├─► bad rows, with reasons
                  └─► counts

Every element is an Arrow record batch. Both components begin with :class:`ReadPlays`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from components.play_log import files, read
from components.play_log.batches import Keyed, concat, split_by_bucket
from components.play_log.columns import PlayColumns
from components.play_log.counts import Counts
from components.play_log.dedupe import dedupe
from components.play_log.parse import parse, summary
from components.play_log.side_tables import Key, parse_side_table, setting_of
from components.settings import Data, SideTable

PLAYS, BAD, COUNTS = "plays", "bad", "counts"

#: Marks, in the schema of a batch, what the batch is a part of, so that plays and a side table are grouped together.
_TABLE = b"table"


class Read(NamedTuple):
    """What reading yields: keyed batches, batches of bad rows, partial counts."""

    keyed: Any
    bad: Any
    counts: Any


class SumCounts(beam.CombineFn):
    """The sum of :class:`Counts`."""

    def create_accumulator(self) -> Counts:
        """No rows."""
        return Counts()

    def add_input(self, accumulator: Counts, element: Counts) -> Counts:
        """One more part."""
        return Counts.total([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        """All parts."""
        return Counts.total(accumulators)

    def extract_output(self, accumulator: Counts) -> Counts:
        """The sum itself."""
        return accumulator


class _Parts(beam.PTransform):
    """The parts of files, spread over the workers."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__()
        self._paths = paths

    def expand(self, root: Any) -> Any:
        return (
            root
            | "Files" >> beam.Create(self._paths)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Parts" >> beam.FlatMap(read.parts_of)
            | "SpreadParts" >> beam.Reshuffle()
        )


class _ParsePart(beam.DoFn):
    """A part of the play log to plays by bucket, bad rows and counts."""

    def __init__(self, data: Data, columns: PlayColumns, window: tuple[int, int], num_buckets: int, key: Key) -> None:
        self._data, self._columns, self._window = data, columns, window
        self._num_buckets, self._key = num_buckets, key

    def process(self, part: read.Part) -> Iterator[Any]:
        counts = []
        for raw in read.read(part, [self._data.plays.source(name) for name in self._columns.all]):
            parsed = parse(raw, part.path, self._data, self._columns, self._window)
            yield from split_by_bucket(parsed.plays, self._key, self._num_buckets)
            if parsed.bad.num_rows:
                yield beam.pvalue.TaggedOutput(BAD, parsed.bad)
            counts.append(parsed.counts)
        yield beam.pvalue.TaggedOutput(COUNTS, Counts.total(counts))


class _Dedupe(beam.DoFn):
    """The plays of a bucket, each once."""

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        bucket, batches = element
        plays, duplicates = dedupe(concat(batches))
        yield bucket, plays
        yield beam.pvalue.TaggedOutput(COUNTS, Counts(plays=plays.num_rows, duplicates=duplicates))


class ReadPlays(beam.PTransform):
    """The deduplicated plays on feeds inside a window, one batch per bucket.

    Args:
        data: The data settings; their files are looked up when the pipeline is built.
        columns: Which columns are read.
        window: Which plays are taken: [start, end) in epoch milliseconds.
        num_buckets: The number of buckets.
        key: Buckets of what: of videos or of users. All plays of a video (or user) lie in one bucket.

    Returns (from ``expand``):
        A :class:`Read`: (bucket, batch with ``columns.schema``), bad rows, counts to be summed.
    """

    def __init__(
        self, data: Data, columns: PlayColumns, window: tuple[int, int], num_buckets: int, key: Key = "video_id"
    ) -> None:
        super().__init__()
        self._data, self._columns, self._window = data, columns, window
        self._num_buckets, self._key = num_buckets, key

    def expand(self, root: Any) -> Read:
        """Builds the steps; raises InputError where a pattern matches no file."""
        paths = files.expand(self._data.plays.files, self._data, "data.plays.files")
        parsed = (
            root
            | "PlayLog" >> _Parts(paths)
            | "Parse"
            >> beam.ParDo(
                _ParsePart(self._data, self._columns, self._window, self._num_buckets, self._key)
            ).with_outputs(BAD, COUNTS, main=PLAYS)
        )
        unique = (
            typed(parsed[PLAYS])
            | "GroupByBucket" >> beam.GroupByKey()
            | "Dedupe" >> beam.ParDo(_Dedupe()).with_outputs(COUNTS, main=PLAYS)
        )
        counts = (parsed[COUNTS], unique[COUNTS]) | "AllCounts" >> beam.Flatten()
        return Read(typed(unique[PLAYS]), typed(parsed[BAD], pa.RecordBatch), counts)


class _ParseSideTable(beam.DoFn):
    """A part of a side table to its rows by bucket, bad rows and counts."""

    def __init__(self, table: SideTable, key: Key, num_buckets: int) -> None:
        self._table, self._key, self._num_buckets = table, key, num_buckets

    def process(self, part: read.Part) -> Iterator[Any]:
        for raw in read.read(part, [self._table.key, *self._table.columns.values()]):
            rows, bad = parse_side_table(raw, part.path, self._table, self._key)
            for bucket, batch in split_by_bucket(rows, self._key, self._num_buckets):
                yield bucket, marked(batch, self._key)
            if bad.num_rows:
                yield beam.pvalue.TaggedOutput(BAD, bad)
                yield beam.pvalue.TaggedOutput(COUNTS, Counts(side_table_bad=summary(bad)[0]))


class ReadSideTable(beam.PTransform):
    """The rows of a side table as text, marked (see :func:`marked`) and keyed by the bucket of their id.

    Returns (from ``expand``):
        A :class:`Read`.
    """

    def __init__(self, data: Data, table: SideTable, key: Key, num_buckets: int) -> None:
        super().__init__()
        self._data, self._table, self._key, self._num_buckets = data, table, key, num_buckets

    def expand(self, root: Any) -> Read:
        """Builds the steps; raises InputError where a pattern matches no file."""
        paths = files.expand(self._table.files, self._data, f"{setting_of(self._key)}.files")
        parsed = (
            root
            | "SideTable" >> _Parts(paths)
            | "Parse"
            >> beam.ParDo(_ParseSideTable(self._table, self._key, self._num_buckets)).with_outputs(
                BAD, COUNTS, main=PLAYS
            )
        )
        return Read(typed(parsed[PLAYS]), typed(parsed[BAD], pa.RecordBatch), parsed[COUNTS])


def marked(batch: pa.RecordBatch, table: Key) -> pa.RecordBatch:
    """The batch, marked as a part of a side table."""
    return batch.replace_schema_metadata({_TABLE: table.encode()})


def plays_and_side_table(batches: Iterable[pa.RecordBatch]) -> tuple[pa.RecordBatch | None, pa.RecordBatch | None]:
    """What was grouped together, apart again: all plays, and all rows of the side table; None where there are none."""
    plays: list[pa.RecordBatch] = []
    rows: list[pa.RecordBatch] = []
    for batch in batches:
        (rows if _TABLE in (batch.schema.metadata or {}) else plays).append(batch)
    return concat(plays) if plays else None, concat(rows) if rows else None


class WriteText(beam.DoFn):
    """Writes the one text that it is given to ``path``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, text: str) -> None:
        """Writes the file."""
        with FileSystems.create(self._path, "text/plain") as file:
            file.write(text.encode())


class WriteCounts(beam.PTransform):
    """Sums partial counts into one JSON file, which :func:`read_counts` reads."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, counts: Any) -> Any:
        """Builds the steps."""
        return (
            counts
            | "Sum" >> beam.CombineGlobally(SumCounts())
            | "ToJson" >> beam.Map(Counts.to_json)
            | "Write" >> beam.ParDo(WriteText(self._path))
        )


def read_counts(path: str) -> Counts:
    """The counts that :class:`WriteCounts` wrote."""
    with FileSystems.open(path) as file:
        return Counts.from_json(file.read().decode())


def typed(collection: Any, kind: Any = Keyed) -> Any:
    """Says what the elements are, so that Beam takes the coder of record batches for them."""
    collection.element_type = convert_to_beam_type(kind)
    return collection
