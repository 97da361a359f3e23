"""The play log of simulated users, and its files."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from simulation.arrays import Columns, Floats, Ints, concat
from simulation.behaviour import WatchDistribution, initial_state
from simulation.policy import NoisyTastePolicy, Policy
from simulation.sessions import Plays, draw_sessions, play_day
from simulation.settings import LogFormat, Simulation
from simulation.world import World, identifiers, make_world, users_table, videos_table

#: How many sessions the expected session length weighs as much as, beside those seen.
_PRIOR_SESSIONS = 20


@dataclasses.dataclass(frozen=True)
class Truth(Columns):
    """What the log does not tell about its P plays."""

    user: Ints  # [P] indices into the population
    video: Ints  # [P]
    session: Ints  # [P] equal for the plays of one session
    mood: Floats  # [P] impatience before the play, log-odds of a glance
    watch: WatchDistribution  # [P] distribution of the play time


@dataclasses.dataclass(frozen=True)
class SimulatedLogs:
    """Play log and side tables, and the truth behind them.

    Attributes:
        settings: What they were simulated from.
        world: The population.
        plays: user_id, video_id, platform (string); time_ms, play_time_ms, duration_ms (int64). Sorted by time, then
            user. Each play stands once, and none is broken: :func:`deliveries` adds both.
        users: user_id and profile columns (string).
        videos: video_id, author_id, category, music_id, upload_day (string), duration_ms (int64).
        truth: One row for each of ``plays``.
    """

    settings: Simulation
    world: World
    plays: pa.Table
    users: pa.Table
    videos: pa.Table
    truth: Truth


def simulate(settings: Simulation, policy: Policy | None = None) -> SimulatedLogs:
    """Simulates the whole log.

    Args:
        settings: Sizes, seed and behaviour.
        policy: What is shown to whom; by default :class:`simulation.policy.NoisyTastePolicy`. One made for another
            world than ``make_world(settings)`` fails or shows videos that do not exist.
    """
    world = make_world(settings)
    plays = _play_all_days(world, policy or NoisyTastePolicy(world))
    plays = plays[np.lexsort((plays.user, plays.time_ms))]
    truth = Truth(plays.user, plays.video, plays.session, plays.mood, plays.distribution)
    return SimulatedLogs(settings, world, _plays_table(world, plays), users_table(world), videos_table(world), truth)


def _play_all_days(world: World, policy: Policy) -> Plays:
    settings = world.settings
    rng = np.random.default_rng([settings.seed, 1])
    state = initial_state(world)
    share = world.of_platform("share")
    prior = float((share * world.of_platform("session_plays")).sum() / share.sum())
    done: list[Plays] = []
    num_plays = num_sessions = 0
    for day in range(settings.days):
        # How long sessions last depends on what is shown, so the days share out what is left to reach ``num_plays``.
        expected = (_PRIOR_SESSIONS * prior + num_plays) / (_PRIOR_SESSIONS + num_sessions)
        wanted = max(settings.num_plays - num_plays, 0) / (settings.days - day)
        sessions = draw_sessions(world, state, day, max(round(wanted / expected), 1), rng)
        plays = play_day(world, state, policy, sessions, rng)
        if plays is not None:
            done.append(dataclasses.replace(plays, session=plays.session + num_sessions))
            num_plays += len(plays.user)
        num_sessions += len(sessions.user)
    return concat(done)


def _plays_table(world: World, plays: Plays) -> pa.Table:
    settings = world.settings
    return pa.table(
        {
            "user_id": identifiers("u", plays.user, settings.num_users),
            "video_id": identifiers("v", plays.video, settings.num_videos),
            "time_ms": plays.time_ms,
            "play_time_ms": plays.play_time_ms,
            "duration_ms": world.videos.duration_ms[plays.video],
            "platform": pa.array(list(settings.platforms)).take(pa.array(plays.platform)),
        }
    )


def deliveries(logs: SimulatedLogs) -> list[tuple[datetime.date, pa.Table]]:
    """The plays as a logging system delivers them: one table per local day, with repeated and broken rows.

    Of the plays, ``duplicate_fraction`` are delivered twice. Broken rows are copies of plays in which one field is
    missing, negative, or a duration of zero; there are ``bad_row_fraction`` times as many as plays.
    """
    settings = logs.settings
    rng = np.random.default_rng([settings.seed, 2])
    num = logs.plays.num_rows
    repeated = rng.permutation(num)[: round(settings.duplicate_fraction * num)]
    damaged = rng.integers(num, size=round(settings.bad_row_fraction * num))
    rows = np.concatenate([np.arange(num), repeated, damaged])
    days = logs.world.day_of(logs.plays["time_ms"].to_numpy())[rows]
    broken = _damage(logs.plays.take(pa.array(damaged)), rng)
    delivered = pa.concat_tables([logs.plays, logs.plays.take(pa.array(repeated)), broken]).combine_chunks()
    # Late and broken rows stand anywhere within their day's file, the others in the order of time.
    places = np.where(np.arange(len(rows)) < num, rows, rng.random(len(rows)) * num)
    order = np.lexsort((places, days))
    bounds = np.searchsorted(days[order], np.arange(settings.days + 1))
    return [
        (
            settings.first_day + datetime.timedelta(days=day),
            delivered.take(pa.array(order[bounds[day] : bounds[day + 1]])),
        )
        for day in range(settings.days)
    ]


def _damage(plays: pa.Table, rng: np.random.Generator) -> pa.Table:
    """The rows, each with one field spoilt in one of five ways."""
    way = rng.integers(5, size=plays.num_rows)
    spoilt: dict[str, list[tuple[int, int | None]]] = {  # column: (which ways spoil it, with what)
        "user_id": [(0, None)],
        "play_time_ms": [(1, None), (2, -1)],
        "duration_ms": [(3, 0)],
        "time_ms": [(4, -1)],
    }
    for name, ways in spoilt.items():
        column = plays[name]
        for number, value in ways:
            column = pc.if_else(pa.array(way == number), pa.scalar(value, column.type), column)
        plays = plays.set_column(plays.schema.get_field_index(name), name, column)
    return plays


def write(logs: SimulatedLogs, folder: Path | str, log_format: LogFormat | None = None) -> list[Path]:
    """Writes ``plays_YYYYMMDD``, one file per local day with plays, ``users`` and ``videos`` into ``folder``.

    Args:
        logs: What :func:`simulate` returns.
        folder: Made if absent; files of the same names are overwritten.
        log_format: ``parquet``, ``csv`` or ``csv.gz``: the ending of the files. By default that of the settings.

    Returns:
        The files written.

    Raises:
        FileExistsError: There are plays of other days in the folder, which a glob would read along with these.
    """
    log_format = log_format or logs.settings.format
    folder = Path(folder)
    tables = {folder / f"{stem}.{log_format}": table for stem, table in _files(logs)}
    others = sorted(set(folder.glob(f"plays_*.{log_format}")) - set(tables))
    if others:
        raise FileExistsError(
            f"{folder} holds plays of another log, such as {others[0].name}. Empty the folder or name another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, table in tables.items():
        if log_format == "parquet":
            pq.write_table(table, path)
        else:
            with pa.output_stream(path, compression="gzip" if log_format == "csv.gz" else None) as stream:
                pa_csv.write_csv(table, stream)
    return list(tables)


def _files(logs: SimulatedLogs) -> Iterator[tuple[str, pa.Table]]:
    """Stem and content of each file."""
    for day, table in deliveries(logs):
        if table.num_rows:
            yield f"plays_{day:%Y%m%d}", table
    yield "users", logs.users
    yield "videos", logs.videos
