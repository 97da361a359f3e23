"""The check of the inputs before a pipeline starts: seconds, instead of a failure after an hour."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from components.play_log import files, read, side_tables
from components.play_log.columns import NUMBERS, PlayColumns, needed, setting_of
from components.play_log.errors import InputError
from components.settings import Data


def check_inputs(data: Data, beam_args: Sequence[str] = ()) -> None:
    """Looks at every file of the play log and of the side tables: that it is there, is no stub, has every column.

    Args:
        data: The data settings.
        beam_args: The arguments of the Beam pipeline to come; object stores take theirs from them.

    Raises:
        InputError: Names the file, what is missing, what comes close, and the setting to change.
    """
    FileSystems.set_options(PipelineOptions(list(beam_args)))
    columns = {name: data.plays.source(name) for name in PlayColumns.of(data).all if needed(data, name)}
    numbers = {data.plays.source(name) for name in NUMBERS}
    places = {columns[name]: setting_of(name) for name in reversed(columns)}
    _check_files(files.expand(data.plays.files, data, "data.plays.files"), places, numbers)
    for key, table in (("user_id", data.users), ("video_id", data.videos)):
        if table is None:
            continue
        setting = side_tables.setting_of(key)  # type: ignore[arg-type]
        places = {source: f"{setting}.columns.{name}" for name, source in table.columns.items()}
        places[table.key] = f"{setting}.key"
        _check_files(files.expand(table.files, data, f"{setting}.files"), places, set())


def _check_files(paths: list[str], places: Mapping[str, str], numbers: set[str]) -> None:
    """Checks the header of every file; ``places`` are the settings by the column that they name."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        for path, schema in zip(paths, pool.map(read.schema_of, paths), strict=True):
            for column, setting in places.items():
                _check_column(path, schema, column, setting)
                if column in numbers:
                    _check_number(path, schema.field(column))


def _check_column(path: str, schema: pa.Schema, column: str, setting: str) -> None:
    count = schema.names.count(column)
    if count == 1:
        return
    if count:
        raise InputError(f"{path} has {count} columns named {column!r} ({setting}). Rename all but one.")
    close = difflib.get_close_matches(column, schema.names, n=3, cutoff=0.5)
    hint = f"close ones are {_listed(close)}" if close else f"it has {_listed(schema.names)}"
    raise InputError(f"{path} has no column {column!r}; {hint}. Set {setting} to the file's own name.")


def _listed(names: list[str]) -> str:
    """Names for a message: not endless ones, where a file is no table at all."""
    shown = [repr(name if len(name) <= 60 else f"{name[:60]}…") for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check_number(path: str, field: pa.Field) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        raise InputError(
            f"{path}: the column {field.name!r} holds {kind}, not whole milliseconds. Write it as a number (for times: "
            "milliseconds since 1970-01-01 UTC, or seconds with data.plays.time_unit: s)."
        )
