"""From raw batches to good plays and bad rows with their reasons. Pure and vectorised.

Reasons, one per row, the first that applies in this order: ``wrong_number_of_fields``; for each of user_id and video_id
``missing_<column>``, ``not_utf8_<column>``, ``line_break_in_<column>`` (stray quotes may make one value of two rows);
for each of time_ms, play_time_ms and duration_ms ``missing_<column>``, ``not_a_number_<column>``; ``negative_time_ms``,
``negative_play_time_ms``, ``non_positive_duration_ms``; ``time_out_of_range``.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.play_log.batches import Bools, Ints
from components.play_log.columns import IDS, NUMBERS, TEXT, PlayColumns, needed, setting_of
from components.play_log.counts import Counts
from components.play_log.errors import InputError
from components.play_log.read import InvalidRow, Raw
from components.play_log.values import to_numbers, to_text
from components.settings import Data

WRONG_NUMBER_OF_FIELDS = "wrong_number_of_fields"

#: Bad rows: the file, the row's number in it, the reason, and the values read (JSON: an object, or the whole line).
BAD_ROWS = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])

_REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What became of some rows: plays (schema of the :class:`PlayColumns`), bad rows (:data:`BAD_ROWS`), counts."""

    plays: pa.RecordBatch
    bad: pa.RecordBatch
    counts: Counts


class _Reasons:
    """The first reason found for every row [n]; '' for good rows."""

    def __init__(self, n: int) -> None:
        self.codes = np.zeros(n, np.int64)
        self.names = [""]

    def add(self, reason: str, where: Bools) -> None:
        self.names.append(reason)
        self.codes[where & (self.codes == 0)] = len(self.names) - 1

    @property
    def good(self) -> Bools:
        return self.codes == 0


def parse(raw: Raw, file: str, data: Data, columns: PlayColumns, window: tuple[int, int]) -> Parsed:
    """Judges the rows, then takes the plays on feeds inside ``window`` ([start, end) in epoch milliseconds).

    Raises:
        InputError: A needed column is not in the file.
    """
    n = raw.batch.num_rows
    text = {name: _text(raw, file, data, name) for name in (*IDS, *columns.categorical)}
    numbers: dict[str, Ints] = {}
    reasons = _Reasons(n)
    for name in IDS:
        reasons.add(f"missing_{name}", _np(pc.equal(pc.utf8_trim_whitespace(text[name]), "")))
        reasons.add(f"not_utf8_{name}", _np(pc.match_substring(text[name], _REPLACED)))
        reasons.add(f"line_break_in_{name}", _np(pc.match_substring_regex(text[name], r"[\r\n]")))
    for name in NUMBERS:
        shift = 3 if name == "time_ms" and data.plays.time_unit == "s" else 0
        numbers[name], missing, wrong = to_numbers(_column(raw, file, data, name), shift)
        reasons.add(f"missing_{name}", missing)
        reasons.add(f"not_a_number_{name}", wrong)
    reasons.add("negative_time_ms", numbers["time_ms"] < 0)
    reasons.add("negative_play_time_ms", numbers["play_time_ms"] < 0)
    reasons.add("non_positive_duration_ms", numbers["duration_ms"] <= 0)
    earliest, latest = data.time_range_ms
    reasons.add("time_out_of_range", (numbers["time_ms"] < earliest) | (numbers["time_ms"] >= latest))

    bad = _bad_rows(raw, file, reasons)
    good, time_ms = reasons.good, numbers["time_ms"]
    inside = good & (time_ms >= window[0]) & (time_ms < window[1])
    taken = inside & _on_feeds(text["platform"], data.feeds)
    arrays = [text[name] if name in text else pa.array(numbers[name]) for name in columns.all]
    plays = pa.RecordBatch.from_arrays(arrays, schema=columns.schema).filter(pa.array(taken))
    return Parsed(plays, bad, _counts(n, bad, good, inside, plays.num_rows, time_ms))


def _counts(n: int, bad: pa.RecordBatch, good: Bools, inside: Bools, taken: int, time_ms: Ints) -> Counts:
    """The counts of a batch; ``plays`` and ``duplicates`` are counted where repeated deliveries are found."""
    by_reason, places = summary(bad)
    times = time_ms[good]
    return Counts(
        rows_read=n + by_reason.get(WRONG_NUMBER_OF_FIELDS, 0),
        bad=by_reason,
        first_bad=places,
        outside_window=int(good.sum() - inside.sum()),
        not_a_feed=int(inside.sum()) - taken,
        first_ms=int(times.min()) if len(times) else None,
        last_ms=int(times.max()) if len(times) else None,
    )


def summary(bad: pa.RecordBatch) -> tuple[dict[str, int], dict[str, tuple[str, int]]]:
    """Of bad rows of one file: how many by reason, and the first place of each."""
    counts: dict[str, int] = {}
    places: dict[str, tuple[str, int]] = {}
    table = pa.Table.from_batches([bad]).group_by(["file", "reason"]).aggregate([("row", "min"), ("row", "count")])
    for group in table.to_pylist():
        counts[group["reason"]] = group["row_count"]
        places[group["reason"]] = (group["file"], group["row_min"])
    return counts, places


def _on_feeds(platform: pa.Array, feeds: list[str] | None) -> Bools:
    if feeds is None:
        return np.ones(len(platform), bool)
    return _np(pc.is_in(platform, value_set=to_text(pa.array(feeds, TEXT))))


def _bad_rows(raw: Raw, file: str, reasons: _Reasons) -> pa.RecordBatch:
    where = np.flatnonzero(~reasons.good)
    rows = raw.rows[where].tolist()
    named = [reasons.names[code] for code in reasons.codes[where]]
    values = [json.dumps(row, ensure_ascii=False, default=str) for row in raw.batch.take(pa.array(where)).to_pylist()]
    return bad_rows(file, rows, named, values, raw.invalid)


def bad_rows(
    file: str, rows: list[int], reasons: list[str], values: list[str], invalid: tuple[InvalidRow, ...]
) -> pa.RecordBatch:
    """A batch of :data:`BAD_ROWS` of one file: rows with a reason each, and lines with a wrong number of fields."""
    rows = rows + [line.row for line in invalid]
    reasons = reasons + [WRONG_NUMBER_OF_FIELDS] * len(invalid)
    values = values + [json.dumps(line.text, ensure_ascii=False) for line in invalid]
    return pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in
                                       zip(([file] * len(rows), rows, reasons, values), BAD_ROWS, strict=True)],
                                      schema=BAD_ROWS)  # fmt: skip


def _column(raw: Raw, file: str, data: Data, name: str) -> pa.Array:
    source = data.plays.source(name)
    if source in raw.batch.schema.names:
        return raw.batch.column(source)
    if needed(data, name):
        raise InputError(f"{file} has no column {source!r}. Set {setting_of(name)} to the log's own name of {name}.")
    return pa.nulls(raw.batch.num_rows, TEXT)


def _text(raw: Raw, file: str, data: Data, name: str) -> pa.Array:
    return to_text(_column(raw, file, data, name))


def _np(mask: pa.Array) -> Bools:
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)
