"""Side tables of users and videos: from raw batches to one row per key, and the join. Pure and vectorised."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.play_log.batches import text_ranks
from components.play_log.columns import TEXT
from components.play_log.errors import InputError
from components.play_log.parse import bad_rows
from components.play_log.read import Raw
from components.play_log.values import to_text
from components.settings import SideTable

#: The tables by the id that joins them to plays.
Key = Literal["user_id", "video_id"]


def setting_of(key: Key) -> str:
    """The table's place in the configuration."""
    return {"user_id": "data.users", "video_id": "data.videos"}[key]


def parse_side_table(raw: Raw, file: str, table: SideTable, key: Key) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The table's rows as text columns (``key``, then ``table.columns``), and the bad rows.

    Raises:
        InputError: A configured column is not in the file.
    """
    for source in (table.key, *table.columns.values()):
        if source not in raw.batch.schema.names:
            raise InputError(f"{file} has no column {source!r}. Correct {setting_of(key)}.key or .columns.")
    names = [key, *table.columns]
    sources = [table.key, *table.columns.values()]
    columns = [to_text(raw.batch.column(source)) for source in sources]
    missing = pc.equal(pc.utf8_trim_whitespace(columns[0]), "")
    where = np.flatnonzero(missing.to_numpy(zero_copy_only=False))
    values = [json.dumps(row, ensure_ascii=False, default=str) for row in raw.batch.take(pa.array(where)).to_pylist()]
    bad = bad_rows(file, raw.rows[where].tolist(), [f"missing_{key}"] * len(where), values, raw.invalid)
    rows = pa.RecordBatch.from_arrays(columns, names=names).filter(pc.invert(missing))
    return rows, bad


def one_row_per_key(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Of rows with the same key (the first column) the smallest, column by column: no order of arrival decides."""
    if rows.num_rows < 2:
        return rows
    ranks = [text_ranks(column) for column in rows.columns]
    order = np.lexsort(ranks[::-1])
    keys = ranks[0][order]
    first = np.insert(keys[1:] != keys[:-1], 0, True)
    return rows.take(pa.array(order[first]))


def join(plays: pa.RecordBatch, rows: pa.RecordBatch | None, key: Key, columns: list[str]) -> pa.RecordBatch:
    """The plays with ``columns`` of the side table behind their own; '' for ids that it does not have."""
    found = [pa.repeat(pa.scalar("", TEXT), plays.num_rows) for _ in columns]
    if rows is not None:
        unique = one_row_per_key(rows)
        where = pc.index_in(plays.column(key), value_set=unique.column(key))
        found = [pc.fill_null(unique.column(name).take(where), "") for name in columns]
    return pa.RecordBatch.from_arrays([*plays.columns, *found], names=[*plays.schema.names, *columns])
