"""The log as a whole, its sessions, and its files."""

import dataclasses
import datetime
import gzip
import zoneinfo

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from simulation.behaviour import initial_state
from simulation.logs import deliveries, simulate, write
from simulation.policy import RandomPolicy
from simulation.sessions import SESSION_GAP_MS, demand, draw_sessions, play_day
from simulation.world import make_world


def test_equal_seeds_write_equal_files_and_others_do_not(tiny, tmp_path):
    first = write(simulate(tiny), tmp_path / "first")
    again = write(simulate(tiny), tmp_path / "again")
    assert [p.name for p in first] == [p.name for p in again]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))
    other = simulate(tiny.model_copy(update={"seed": 4}))
    assert other.plays != simulate(tiny).plays


@pytest.mark.parametrize(("sizes", "tolerance"), [({}, 0.2), ({"num_plays": 6_000, "days": 14}, 0.05)])
def test_small_logs_come_near_the_wanted_number_of_plays(tiny, sizes, tolerance):
    settings = tiny.model_copy(update=sizes)
    assert simulate(settings).plays.num_rows == pytest.approx(settings.num_plays, rel=tolerance)


def test_the_log_has_the_wanted_number_of_plays(logs):
    assert logs.plays.num_rows == pytest.approx(logs.settings.num_plays, rel=0.03)


def test_plays_have_the_schema_of_a_play_log(logs):
    types = {field.name: str(field.type) for field in logs.plays.schema}
    assert types == {
        "user_id": "string",
        "video_id": "string",
        "time_ms": "int64",
        "play_time_ms": "int64",
        "duration_ms": "int64",
        "platform": "string",
    }
    assert all(column.null_count == 0 for column in logs.plays.columns)
    time_ms, duration = logs.plays["time_ms"].to_numpy(), logs.plays["duration_ms"].to_numpy()
    play_time = logs.plays["play_time_ms"].to_numpy()
    edges = logs.world.day_edges_ms
    assert (np.diff(time_ms) >= 0).all()
    assert edges[0] <= time_ms[0] and time_ms[-1] < edges[-1]
    assert play_time.min() == 0 and play_time.max() <= 900_000
    assert duration.min() >= 5_000 and duration.max() <= 300_000
    assert set(logs.plays["user_id"].unique().to_pylist()) <= set(logs.users["user_id"].to_pylist())
    assert set(logs.plays["video_id"].unique().to_pylist()) <= set(logs.videos["video_id"].to_pylist())
    assert len(np.unique(logs.world.day_of(time_ms))) == logs.settings.days
    assert 0.1 < (play_time > duration + 400).mean() < 0.35  # loops


def test_one_user_has_one_play_at_a_time(logs):
    time_ms, play_time = logs.plays["time_ms"].to_numpy(), logs.plays["play_time_ms"].to_numpy()
    order = np.lexsort((time_ms, logs.truth.user))
    user, session = logs.truth.user[order], logs.truth.session[order]
    gap = time_ms[order][1:] - (time_ms + play_time)[order][:-1]
    same_user, same_session = user[1:] == user[:-1], session[1:] == session[:-1]
    assert (same_user | ~same_session).all()
    assert gap[same_session].min() > 0
    assert np.quantile(gap[same_session], 0.99) < 3_000
    assert gap[same_user & ~same_session].min() >= SESSION_GAP_MS
    lengths = np.bincount(session)
    lengths = lengths[lengths > 0]
    assert 8 < lengths.mean() < 20
    assert lengths.min() == 1
    platform = logs.plays["platform"].to_numpy(zero_copy_only=False)[order]
    assert (platform[1:] == platform[:-1])[same_session].all()


def test_users_come_by_day_and_sleep_at_night(logs):
    hour = logs.world.local_hour(logs.plays["time_ms"].to_numpy())
    assert ((hour >= 18) & (hour < 23)).mean() > 4 * ((hour >= 2) & (hour < 7)).mean()


def test_platforms_differ(logs):
    platform = logs.plays["platform"].to_numpy(zero_copy_only=False)
    play_time = logs.plays["play_time_ms"].to_numpy()
    glance = {name: (play_time[platform == name] < 3_000).mean() for name in logs.settings.platforms}
    unopened = {name: (play_time[platform == name] == 0).mean() for name in logs.settings.platforms}
    assert unopened["featured"] == unopened["friends"] == 0
    assert 0.3 < unopened["discover"] < 0.7
    assert glance["friends"] < glance["featured"] - 0.04 < glance["discover"] - 0.1


def test_deliveries_repeat_and_break_the_stated_shares(tiny):
    settings = tiny.model_copy(update={"duplicate_fraction": 0.1, "bad_row_fraction": 0.05})
    logs = simulate(settings)
    rows = [row for _, table in deliveries(logs) for row in table.to_pylist()]
    num = logs.plays.num_rows
    assert len(rows) == num + round(0.1 * num) + round(0.05 * num)

    def is_bad(row):
        return None in row.values() or row["time_ms"] < 0 or row["play_time_ms"] < 0 or row["duration_ms"] <= 0

    assert sum(is_bad(row) for row in rows) == round(0.05 * num)
    good = [tuple(row.values()) for row in rows if not is_bad(row)]
    assert sorted(set(good)) == sorted(tuple(row.values()) for row in logs.plays.to_pylist())
    assert len(good) - len(set(good)) == round(0.1 * num)
    spoilt = [{k: v for k, v in row.items() if v in (None, -1) or (k, v) == ("duration_ms", 0)} for row in rows]
    ways = {tuple(s.items()) for s in spoilt if s}
    assert ways == {
        (("user_id", None),),
        (("play_time_ms", None),),
        (("play_time_ms", -1),),
        (("duration_ms", 0),),
        (("time_ms", -1),),
    }


def test_files_hold_one_local_day_each(tiny, tmp_path):
    settings = tiny.model_copy(update={"bad_row_fraction": 0.0})
    logs = simulate(settings)
    paths = write(logs, tmp_path)
    days = [settings.first_day + datetime.timedelta(days=n) for n in range(settings.days)]
    assert [p.name for p in paths] == [*(f"plays_{d:%Y%m%d}.parquet" for d in days), "users.parquet", "videos.parquet"]
    zone = zoneinfo.ZoneInfo(settings.time_zone)
    for day, path in zip(days, paths, strict=False):
        times = pq.read_table(path)["time_ms"].to_pylist()
        assert {datetime.datetime.fromtimestamp(t / 1000, zone).date() for t in times} == {day}
    assert pq.read_table(tmp_path / "users.parquet") == logs.users
    assert pq.read_table(tmp_path / "videos.parquet") == logs.videos


@pytest.mark.parametrize("log_format", ["csv", "csv.gz"])
def test_csv_says_the_same_as_parquet(tiny, tmp_path, log_format):
    logs = simulate(tiny.model_copy(update={"format": log_format}))
    paths = write(logs, tmp_path)  # the format of the settings
    assert all(p.name.endswith(f".{log_format}") for p in paths)
    if log_format == "csv.gz":
        assert gzip.decompress(paths[0].read_bytes()).startswith(b'"user_id","video_id"')
    tables = [table for _, table in deliveries(logs)]
    strings = pa_csv.ConvertOptions(
        column_types=tables[0].schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    assert [pa_csv.read_csv(p, convert_options=strings) for p in paths[: len(tables)]] == tables


def test_a_folder_with_plays_of_other_days_is_left_alone(tiny, tmp_path):
    logs = simulate(tiny)
    write(logs, tmp_path)
    write(logs, tmp_path)  # the same log may be written again
    shorter = simulate(tiny.model_copy(update={"days": 2}))
    with pytest.raises(FileExistsError, match="plays_20240306"):
        write(shorter, tmp_path)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_users": 1, "num_plays": 20},
        {"num_authors": 1, "num_music": 1, "num_categories": 2, "latent_dims": 1},
        {"num_videos": 10},
        {"days": 1, "num_plays": 300},
        {"num_categories": 30},
    ],
    ids=str,
)
def test_the_smallest_worlds_work(tiny, sizes):
    logs = simulate(tiny.model_copy(update=sizes))
    assert logs.plays.num_rows > 0


def test_a_day_can_be_played_by_hand(tiny):
    world, rng = make_world(tiny), np.random.default_rng(0)
    state, policy = initial_state(world), RandomPolicy(world)
    sessions = draw_sessions(world, state, 0, 40, rng)
    assert len(sessions.user) == 40
    plays = play_day(world, state, policy, sessions, rng)
    assert set(plays.user) == set(sessions.user)
    assert set(plays.session) == set(range(40))
    assert (state.free_at_ms[plays.user] >= plays.time_ms).all()
    nobody = sessions[np.array([], np.int64)]
    assert play_day(world, state, policy, nobody, rng) is None


def test_contentment_raises_demand(tiny):
    world = make_world(tiny)
    state = initial_state(world)
    assert demand(world, state, 0) == 1
    content = dataclasses.replace(state, contentment=np.full_like(state.mood, 0.2))
    assert demand(world, content, 0) == pytest.approx(np.exp(0.5 * 0.2))
