"""From the patterns of a configuration to files.

A pattern is a path, a glob (``*`` within a folder, ``**`` across folders), or a folder (or a glob of folders), which
stands for all files in it and below. Of folders and of ``**``, files and folders whose names begin with ``_`` or ``.``
are left out: ``_SUCCESS``, ``.part-0.crc`` and their like are no data.
"""

from __future__ import annotations

import datetime
import os
import re
import urllib.parse
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import NoReturn

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from components.play_log.errors import InputError
from components.settings import Data

ROOT, DAY = "{root}", "{day}"

#: How partitioned folders write that there is no value.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def days(data: Data) -> Iterator[datetime.date]:
    """The days that the window touches, in the log's time zone."""
    zone = zoneinfo.ZoneInfo(data.time_zone)
    start, _, end = data.window_ms
    day = datetime.datetime.fromtimestamp(start / 1000, zone).date()
    last = datetime.datetime.fromtimestamp((end - 1) / 1000, zone).date()
    while day <= last:
        yield day
        day += datetime.timedelta(days=1)


def expand(patterns: Sequence[str], data: Data, setting: str) -> list[str]:
    """The files behind ``patterns``, each once, sorted by name.

    Args:
        patterns: Paths or globs; ``{root}`` is ``data.root`` and ``{day}`` becomes each day of the window.
        data: The data settings.
        setting: The patterns' own name in the configuration, for messages.

    Raises:
        InputError: A pattern that matches no file; with ``{day}``, a day without one, unless
            ``data.plays.allow_missing_days`` is set and another day has one.
    """
    files: set[str] = set()
    for pattern in patterns:
        rooted = pattern.replace(ROOT, data.root)
        if DAY not in rooted:
            files.update(_match(rooted, setting) or _none(rooted, setting))
            continue
        by_day = {d: _match(rooted.replace(DAY, d.strftime(data.plays.day_format)), setting) for d in days(data)}
        missing = [d.isoformat() for d, found in by_day.items() if not found]
        if len(missing) == len(by_day):
            _none(rooted, setting, f" for any day from {missing[0]} to {missing[-1]}")
        if missing and not data.plays.allow_missing_days:
            more = f" (nor for {len(missing) - 1} more, to {missing[-1]})" if len(missing) > 1 else ""
            _none(rooted, setting, f" for the day {missing[0]}{more}", ", or set data.plays.allow_missing_days")
        files.update(*by_day.values())
    return sorted(files)


def _none(pattern: str, setting: str, which: str = "", way_out: str = "") -> NoReturn:
    raise InputError(
        f"{setting}: no file{which} matches {pattern!r}. Correct the pattern, data.root or the window{way_out}."
    )


def _match(pattern: str, setting: str) -> list[str]:
    """The files of a pattern; none is no error."""
    pattern = pattern.rstrip("/") or "/"
    below = f"{pattern}/**"
    try:
        found = [] if os.path.isdir(pattern) else _files(pattern)
        return found or _files(below)
    except (BeamIOError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{setting}: cannot look for files at {pattern!r}: {reason}") from error


def _files(pattern: str) -> list[str]:
    found = [m.path for m in FileSystems.match([pattern])[0].metadata_list]
    if "**" not in pattern:
        return found
    start = re.split(r"[*?\[]", pattern)[0].rfind("/") + 1
    return [path for path in found if not any(part[:1] in ("_", ".") for part in path[start:].split("/"))]


def partitions(path: str) -> dict[str, str | None]:
    """The values that the folders of ``path`` give to columns, as in ``logs/day=2024-03-04/part-0.parquet``."""
    pairs = (folder.split("=", 1) for folder in path.split("/")[:-1] if "=" in folder.strip("="))
    return {k: None if v == _NO_VALUE else urllib.parse.unquote(v) for k, v in pairs if k}
