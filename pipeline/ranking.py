"""A ranking request for a user of the play log, as ``skiprank rank`` sends it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.play_log import files, read
from components.play_log.batches import concat, ints
from components.play_log.columns import PlayColumns
from components.play_log.dedupe import dedupe
from components.play_log.errors import InputError
from components.play_log.parse import parse
from components.play_log.side_tables import Key, join, one_row_per_key, parse_side_table, setting_of
from components.play_sequences.examples import sort_plays
from components.play_sequences.windows import window_start
from components.settings import Data
from pipeline.settings import Settings
from serving.play_log_rows import request_from_rows
from serving.request import RankRequest


@dataclasses.dataclass(frozen=True)
class Ask:
    """What a request is made of.

    Attributes:
        user_id: The user; None takes the one with the most plays.
        at_ms: The time of the request; plays before it are history.
        videos: The candidates; empty takes the ``candidates`` most played ones that are not in the history.
        candidates: How many.
        platform: The page that asks; None takes that of the user's last play.
    """

    user_id: str | None
    at_ms: int
    videos: tuple[str, ...] = ()
    candidates: int = 100
    platform: str | None = None


def request_of(settings: Settings, ask: Ask) -> RankRequest:
    """Makes the request from the configuration's logs and side tables, in one pass over the log.

    The history is what stands before a play of that moment in its window, so the scores are those that ``skiprank
    score`` gives such a play.

    Raises:
        InputError: There is no play before the request, or a video was never played.
    """
    data = settings.data
    log = _plays(data, ask.at_ms)
    user_id = ask.user_id if ask.user_id is not None else _most_active(log)
    own = log.filter(pc.equal(log.column("user_id"), user_id))
    videos = list(ask.videos) or _popular(log, own, ask.candidates)
    known = one_play_per_video(log, videos)
    missing = sorted(set(videos) - set(known.column("video_id").to_pylist()))
    if missing:
        raise InputError(f"The video {missing[0]!r} was not played before the request, so its duration is not known.")
    plays = _joined(data, own, "video_id")
    start = _history_start(settings, ints(plays.column("time_ms")), ask.at_ms)
    history = plays.slice(start).to_pylist()
    platform = ask.platform if ask.platform is not None else (history[-1]["platform"] if history else "")
    order = {video: place for place, video in enumerate(videos)}
    request = request_from_rows(
        history,
        sorted(_joined(data, known, "video_id").to_pylist(), key=lambda row: order[row["video_id"]]),
        user_id=user_id,
        request_time_ms=ask.at_ms,
        platform=platform,
        video_columns=data.features.video_columns[2:],
    )
    return dataclasses.replace(request, profile=_profile(data, user_id, history))


def _profile(data: Data, user_id: str, history: list[dict[str, Any]]) -> dict[str, str]:
    """The user's columns: from the side table, and from the last play where the log itself has them."""
    alone = pa.RecordBatch.from_arrays([pa.array([user_id], pa.large_string())], names=["user_id"])
    known = {**_joined(data, alone, "user_id").to_pylist()[0], **dict.fromkeys(data.profile_columns, "")}
    if history:
        known |= {c: history[-1][c] for c in data.profile_columns}
    return {c: known[c] for c in data.features.profile_columns}


def _history_start(settings: Settings, time_ms: Any, at_ms: int) -> int:
    """Where the window begins in which a play at ``at_ms`` would be a target."""
    evaluate_from = settings.data.window_ms[1]
    segment = int(np.searchsorted(time_ms, evaluate_from)) if at_ms >= evaluate_from else 0
    sequences = settings.sequences
    return window_start(len(time_ms), segment, sequences.history_length, sequences.targets)


def _plays(data: Data, until_ms: int) -> pa.RecordBatch:
    """All good plays on feeds before ``until_ms``, sorted by user and time."""
    columns = PlayColumns.of(data)
    batches = []
    for path in files.expand(data.plays.files, data, "data.plays.files"):
        for part in read.parts_of(path):
            for raw in read.read(part, [data.plays.source(name) for name in columns.all]):
                batches.append(parse(raw, path, data, columns, (data.window_ms[0], until_ms)).plays)
    plays = sort_plays(dedupe(concat(batches))[0])
    if not plays.num_rows:
        raise InputError("There is no play before the time of the request; give a later --at.")
    return plays


def _counts(plays: pa.RecordBatch, column: str) -> dict[str, int]:
    return {v["values"]: v["counts"] for v in pc.value_counts(plays.column(column)).to_pylist()}


def _most_active(plays: pa.RecordBatch) -> str:
    counts = _counts(plays, "user_id")
    return str(min(counts, key=lambda user: (-counts[user], user)))


def _popular(plays: pa.RecordBatch, own: pa.RecordBatch, number: int) -> list[str]:
    counts = _counts(plays, "video_id")
    seen = set(own.column("video_id").to_pylist())
    ranked = sorted((v for v in counts if v not in seen), key=lambda video: (-counts[video], video))
    return ranked[:number]


def one_play_per_video(plays: pa.RecordBatch, videos: list[str]) -> pa.RecordBatch:
    """The latest play of each of ``videos``: it says what the log knows of the video."""
    of_them = plays.filter(pc.is_in(plays.column("video_id"), value_set=pa.array(videos, pa.large_string())))
    order = np.argsort(-ints(of_them.column("time_ms")), kind="stable")
    newest_first = of_them.take(pa.array(order))
    codes = newest_first.column("video_id").dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return newest_first.take(pa.array(np.unique(codes, return_index=True)[1]))


def _joined(data: Data, plays: pa.RecordBatch, key: Key) -> pa.RecordBatch:
    table = data.users if key == "user_id" else data.videos
    if table is None:
        return plays
    wanted = plays.column(key).unique()
    batches = []
    for path in files.expand(table.files, data, f"{setting_of(key)}.files"):
        for part in read.parts_of(path):
            for raw in read.read(part, [table.key, *table.columns.values()]):
                rows = parse_side_table(raw, path, table, key)[0]
                batches.append(rows.filter(pc.is_in(rows.column(key), value_set=wanted)))
    return join(plays, one_row_per_key(concat(batches)) if batches else None, key, list(table.columns))
