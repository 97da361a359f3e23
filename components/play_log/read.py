"""From files to record batches of raw values with their row numbers.

CSV (plain or gzipped) is streamed, Parquet is read by row group; the content decides which a file is, not its name. Row
numbers count the data rows of a file from 1; blank lines of a CSV file are no rows.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components.play_log.batches import Ints, with_columns
from components.play_log.errors import InputError
from components.play_log.files import partitions
from components.play_log.quotes import QuoteMender

#: Bytes of CSV, and rows of Parquet, that make one batch.
CSV_BLOCK_BYTES = 16 << 20
PARQUET_BATCH_ROWS = 1 << 17

#: Bytes that the header of most CSV files fits into, and about the most that are searched for its end.
_HEADER_BYTES, _HEADER_LIMIT = 1 << 16, 16 << 20

_PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"
_UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error, BeamIOError)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one worker reads at a time: a CSV file, or a row group of a Parquet file.

    Attributes:
        path: The file.
        row_group: The row group; None for a CSV file.
        first_row: The number of the part's first row in the file, from 1.
    """

    path: str
    row_group: int | None
    first_row: int


@dataclasses.dataclass(frozen=True)
class InvalidRow:
    """A CSV row with too many or too few fields: its number, and its line."""

    row: int
    text: str


@dataclasses.dataclass(frozen=True)
class Raw:
    """Some rows of a file.

    Attributes:
        batch: The columns asked for that the file has, under the file's own names: strings from CSV, whatever type it
            has from Parquet.
        rows: The rows' numbers [n].
        invalid: Rows that could not be split into fields, in no column of ``batch``.
    """

    batch: pa.RecordBatch
    rows: Ints
    invalid: tuple[InvalidRow, ...] = ()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns what a damaged file raises into an InputError that names it."""
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read, it may be damaged or cut short: {reason}. Replace it.") from error


def _open(path: str) -> Any:
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _magic(path: str) -> bytes:
    with _open(path) as file:
        head: bytes = file.read(4)
    if not head:
        raise InputError(f"{path} is empty, it has not even a header. Remove it or write it anew.")
    return head


class _Utf8Lines:
    """A byte stream in which every byte sequence is valid UTF-8, stray quotes are mended, and the last line is ended.

    One broken character would otherwise end pyarrow's reading of the file; replaced by U+FFFD it costs at most its row.

    Args:
        source: The bytes.
        fields: The number of columns; None leaves the quotes alone.
    """

    closed = False

    def __init__(self, source: Any, fields: int | None) -> None:
        self._source = source
        self._mender = QuoteMender(fields) if fields else None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ready = b""
        self._at_end = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, ready = [self._ready], len(self._ready)
        # Never less than asked for before the end: pyarrow takes a short first block for the whole file.
        while not self._at_end and (size < 0 or ready < size):
            raw = self._source.read(size)
            self._at_end = not raw
            piece = self._decoder.decode(raw, final=self._at_end).encode() + b"\n" * self._at_end
            parts.append(self._mender.mend(piece, self._at_end) if self._mender else piece)
            ready += len(parts[-1])
        self._ready = b"".join(parts)
        if size < 0:
            size = len(self._ready)
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def _csv_stream(path: str, magic: bytes, fields: int | None = None) -> Iterator[_Utf8Lines]:
    with _open(path) as file:
        if magic.startswith(_GZIP):
            yield _Utf8Lines(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "gzip"), fields)
        else:
            yield _Utf8Lines(file, fields)


def schema_of(path: str) -> pa.Schema:
    """The file's columns, and behind them those that its folders give: the stored types for Parquet, else strings.

    Raises:
        InputError: An empty or unreadable file.
    """
    own = _own_schema(path)
    return pa.schema([*own, *((name, pa.string()) for name in partitions(path) if name not in own.names)])


def _own_schema(path: str) -> pa.Schema:
    with _naming(path):
        magic = _magic(path)
        if magic == _PARQUET:
            with _open(path) as file:
                return pq.read_schema(file)
        with _csv_stream(path, magic) as stream:
            header = _header(stream)
        if any("\0" in name for name in header):
            raise InputError(f"{path} is neither CSV (UTF-8, maybe gzipped) nor Parquet. Replace it.")
        return pa.schema([(name, pa.string()) for name in header])


def _header(stream: _Utf8Lines) -> list[str]:
    """The fields of the first line that is not blank; a line ends as pyarrow has it, by \\n, \\r or both."""
    begun, fields = b"", list[str]()
    while len(begun) <= _HEADER_LIMIT and (more := stream.read(len(begun) or _HEADER_BYTES)):
        begun += more
        # A character cut in two at the end looks neither like a quote nor like an end of line.
        lines = io.StringIO(begun.decode("utf-8-sig", errors="replace"), newline="")
        fields = next(filter(None, csv.reader(lines)), [])
        if fields and lines.readline():  # another line has begun, so this one is whole
            break
    return fields


def parts_of(path: str) -> list[Part]:
    """The parts that can be read apart from each other."""
    with _naming(path):
        if _magic(path) != _PARQUET:
            return [Part(path, None, 1)]
        with _open(path) as file:
            metadata = pq.ParquetFile(file).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    return [Part(path, i, 1 + sum(sizes[:i])) for i in range(len(sizes))]


def read(part: Part, columns: Sequence[str]) -> Iterator[Raw]:
    """The rows of a part, in those of ``columns`` (the file's own names) that the file or its folders have.

    Raises:
        InputError: A file that is damaged, that names a needed column twice, or that has lists or structs in one.
    """
    schema = _own_schema(part.path)
    names = schema.names
    given = {name: value for name, value in partitions(part.path).items() if name in columns and name not in names}
    for name in columns:
        if names.count(name) > 1:
            raise InputError(f"{part.path} has {names.count(name)} columns named {name!r}. Rename all but one.")
        if name in names and pa.types.is_nested(kind := schema.field(name).type):
            raise InputError(f"{part.path}: the column {name!r} holds {kind}, not single values. Write it as text.")
    present = [name for name in dict.fromkeys(columns) if name in names]
    with _naming(part.path):
        if part.row_group is None:
            raws = _read_csv(part.path, present, len(names))
        else:
            raws = _read_row_group(part, present)
        for raw in raws:
            yield _with_given(raw, given) if given else raw


def _with_given(raw: Raw, given: dict[str, str | None]) -> Raw:
    """The rows with columns behind that hold the same value on each of them."""
    constant = {name: pa.repeat(pa.scalar(value, pa.string()), len(raw.rows)) for name, value in given.items()}
    return dataclasses.replace(raw, batch=with_columns(raw.batch, constant))


def _read_row_group(part: Part, columns: list[str]) -> Iterator[Raw]:
    first = part.first_row
    with _open(part.path) as file:
        batches = pq.ParquetFile(file).iter_batches(PARQUET_BATCH_ROWS, row_groups=[part.row_group], columns=columns)
        for batch in batches:
            whole = pa.RecordBatch.from_arrays([_utf8(column) for column in batch.columns], names=batch.schema.names)
            yield Raw(whole, np.arange(first, first + batch.num_rows))
            first += batch.num_rows


def _utf8(column: pa.Array) -> pa.Array:
    """The column; where it is text, with U+FFFD for bytes that are no UTF-8: Parquet does not check what is written."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _utf8(column.dictionary))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.large_binary()).to_pylist()
        return pa.array([None if v is None else v.decode(errors="replace") for v in raw], column.type)
    return column


def _read_csv(path: str, columns: list[str], fields: int) -> Iterator[Raw]:
    invalid: list[InvalidRow] = []

    def keep(row: Any) -> str:
        invalid.append(InvalidRow(row.number - 1, row.text))  # pyarrow counts the header as a row
        return "skip"

    with _csv_stream(path, _magic(path), fields) as stream:
        reader = pyarrow.csv.open_csv(
            stream,
            # Only a reader of one thread knows the numbers of invalid rows.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in columns}, include_columns=columns
            ),
        )
        before = reported = 0
        for batch in reader:
            # A block's invalid rows are known before its batch comes, so the valid ones can be numbered.
            skipped = np.array([r.row for r in invalid], np.int64)  # ascending
            valid = np.arange(before, before + batch.num_rows)
            rows = valid + 1 + np.searchsorted(skipped - 1 - np.arange(len(skipped)), valid, side="right")
            before += batch.num_rows
            fresh, reported = tuple(invalid[reported:]), len(invalid)
            yield Raw(batch, rows, fresh)
        if reported < len(invalid):
            empty = pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in columns]))
            yield Raw(empty, np.zeros(0, np.int64), tuple(invalid[reported:]))
