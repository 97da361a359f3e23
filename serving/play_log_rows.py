"""From rows of a play log to a ranking request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.request import Candidate, Play, RankRequest

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


def request_from_rows(
    plays: Iterable[Row] | pd.DataFrame,
    candidates: Iterable[Row] | pd.DataFrame,
    *,
    user_id: str | None = None,
    request_time_ms: int | None = None,
    platform: str | None = None,
    profile_columns: Sequence[str] = (),
    video_columns: Sequence[str] = (),
) -> RankRequest:
    """Makes a request from a user's rows of the play log, in skiprank's column names.

        request = request_from_rows(log[log.user_id == "u17"], videos, profile_columns=["user_active_degree"])

    Args:
        plays: Rows with user_id, video_id, time_ms, play_time_ms, duration_ms, and platform, author_id and category
            where known, in any order. Those at or after ``request_time_ms`` are left out: a ranking call cannot
            know them.
        candidates: Rows with video_id and duration_ms, and author_id and category where known.
        user_id: The user; by default the one of ``plays``. Rows of other users are left out.
        request_time_ms: The time of the request, epoch milliseconds; by default 1 ms after the last play.
        platform: The page or tab that asks; by default the last play's.
        profile_columns: User columns, read from the last row of ``plays`` before the request.
        video_columns: Video columns beyond author_id and category, read from both tables.

    Raises:
        ValueError: A column is missing, ``plays`` holds several users and ``user_id`` is not given, or a value is
            refused by RankRequest.
    """
    rows = _rows(plays)
    user_id = user_id if user_id is not None else _only_user(rows)
    rows = [row for row in rows if _text(_value(row, "user_id", "plays")) == user_id]
    rows.sort(key=lambda row: (int(_value(row, "time_ms", "plays")), _text(_value(row, "video_id", "plays"))))
    if request_time_ms is None:
        if not rows:
            raise ValueError("`request_time_ms` must be given where `plays` holds no row of the user.")
        request_time_ms = int(rows[-1]["time_ms"]) + 1
    rows = [row for row in rows if int(row["time_ms"]) < request_time_ms]
    last: Row = rows[-1] if rows else {}
    return RankRequest(
        user_id=user_id,
        request_time_ms=request_time_ms,
        platform=platform if platform is not None else _text(last.get("platform")),
        profile={column: _text(_value(last, column, "plays")) for column in profile_columns} if last else {},
        history=[_play(row, video_columns) for row in rows],
        candidates=[_candidate(row, video_columns) for row in _rows(candidates)],
    )


def _rows(table: Iterable[Row] | pd.DataFrame) -> list[Row]:
    to_dict = getattr(table, "to_dict", None)
    return list(to_dict("records") if to_dict is not None else table)


def _only_user(rows: list[Row]) -> str:
    users = {_text(_value(row, "user_id", "plays")) for row in rows}
    if len(users) != 1:
        raise ValueError(
            f"`plays` must hold one user's rows, or `user_id` must be given. Received: {len(users)} users."
        )
    return users.pop()


def _play(row: Row, video_columns: Sequence[str]) -> Play:
    return Play(
        video_id=_text(_value(row, "video_id", "plays")),
        time_ms=int(_value(row, "time_ms", "plays")),
        play_time_ms=int(_value(row, "play_time_ms", "plays")),
        duration_ms=int(_value(row, "duration_ms", "plays")),
        platform=_text(row.get("platform")),
        author_id=_text(row.get("author_id")),
        category=_text(row.get("category")),
        extra={column: _text(_value(row, column, "plays")) for column in video_columns},
    )


def _candidate(row: Row, video_columns: Sequence[str]) -> Candidate:
    return Candidate(
        video_id=_text(_value(row, "video_id", "candidates")),
        duration_ms=int(_value(row, "duration_ms", "candidates")),
        author_id=_text(row.get("author_id")),
        category=_text(row.get("category")),
        extra={column: _text(_value(row, column, "candidates")) for column in video_columns},
    )


def _value(row: Row, column: str, table: str) -> Any:
    if column not in row:
        raise ValueError(f"`{table}` has no column {column!r}; it has {', '.join(map(str, row))}.")
    return row[column]


def _text(value: Any) -> str:
    """The value as the log's readers write it: '' for a missing one, and no '.0' behind an integer id."""
    import pandas as pd  # here: it takes half a second to import, and requests can be made without it

    if pd.isna(value):
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
