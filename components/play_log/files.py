"""From the patterns of a configuration to files."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator, Sequence

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from components.play_log.errors import InputError
from components.settings import Data

ROOT, DAY = "{root}", "{day}"


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
        InputError: A pattern that matches no file; with ``{day}``, a day without one.
    """
    files: set[str] = set()
    for pattern in patterns:
        rooted = pattern.replace(ROOT, data.root)
        if DAY not in rooted:
            files.update(_match(rooted, setting, ""))
            continue
        for day in days(data):
            written = day.strftime(data.plays.day_format)
            files.update(_match(rooted.replace(DAY, written), setting, f" for the day {day.isoformat()}"))
    return sorted(files)


def _match(pattern: str, setting: str, which: str) -> list[str]:
    try:
        found = [m.path for m in FileSystems.match([pattern])[0].metadata_list]
    except (BeamIOError, ValueError) as error:
        raise InputError(f"{setting}: cannot look for files{which} at {pattern!r}: {_one_line(error)}") from error
    if not found:
        raise InputError(
            f"{setting}: no file{which} matches {pattern!r}. Correct the pattern, data.root or the window."
        )
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
