import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.play_log.check import check_inputs
from components.play_log.errors import InputError
from components.play_log.files import days, expand

HEADER = "user_id,video_id,time_ms,play_time_ms,duration_ms,platform\n"


def test_patterns_become_files_each_once(tmp_path, settings_for):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("x")
    data = settings_for(tmp_path).data
    found = expand(["{root}/*.csv", "{root}/a.csv"], data, "s")
    assert found == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_a_pattern_without_files(tmp_path, settings_for):
    with pytest.raises(InputError, match=r"data.plays.files: no file matches '.*/plays.csv'"):
        check_inputs(settings_for(tmp_path).data)


def test_days_are_those_of_the_logs_time_zone(tmp_path, settings_for):
    window = {"train_from": "2024-01-01", "evaluate_from": "2024-01-02", "evaluate_to": 1_704_211_200_001}
    assert len(list(days(settings_for(tmp_path, window=window).data))) == 2  # until 2 January, 16:00 UTC
    far = settings_for(tmp_path, window=window, time_zone="Asia/Shanghai").data
    assert list(days(far)) == [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)]


def test_a_day_that_lacks_is_named(tmp_path, settings_for):
    for day in range(1, 13):
        if day != 7:
            (tmp_path / f"log-2024-01-{day:02}.csv").write_text(HEADER)
    data = settings_for(tmp_path, "log-{day}.csv", plays={"day_format": "%Y-%m-%d"}).data
    with pytest.raises(InputError, match=r"no file for the day 2024-01-07 matches"):
        expand(data.plays.files, data, "data.plays.files")
    (tmp_path / "log-2024-01-07.csv").write_text(HEADER)
    assert len(expand(data.plays.files, data, "data.plays.files")) == 12


def test_days_may_lack_where_that_is_said(tmp_path, settings_for):
    plays = {"day_format": "%Y-%m-%d", "allow_missing_days": True}
    data = settings_for(tmp_path, "day={day}/*.csv", plays=plays).data
    with pytest.raises(InputError, match="no file for any day from 2024-01-01 to 2024-01-12 matches"):
        expand(data.plays.files, data, "data.plays.files")
    for day in ("2024-01-03", "2024-01-12", "2024-01-13"):
        (tmp_path / f"day={day}").mkdir()
        (tmp_path / f"day={day}" / "part.csv").write_text(HEADER)
    found = expand(data.plays.files, data, "data.plays.files")
    assert found == [str(tmp_path / f"day={d}" / "part.csv") for d in ("2024-01-03", "2024-01-12")]
    strict = settings_for(tmp_path, "day={day}", plays={"day_format": "%Y-%m-%d"}).data
    message = r"for the day 2024-01-01 \(nor for 9 more, to 2024-01-11\) .* or set data.plays.allow_missing_days"
    with pytest.raises(InputError, match=message):
        expand(strict.plays.files, strict, "data.plays.files")


def test_folders_stand_for_the_files_in_them(tmp_path, settings_for):
    names = ["day=1/part-0.parquet", "day=1/b/part-1.parquet", "day=2/part-0.parquet"]
    left_out = ["_SUCCESS", "day=1/.part-0.crc", "_temporary/0/part-0.parquet", "day=2/_metadata"]
    for name in (*names, *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    data = settings_for(tmp_path).data
    for patterns, expected in [
        (["{root}"], names),
        (["{root}/"], names),
        (["{root}/**"], names),
        (["{root}/**/*.parquet"], names),
        (["{root}/day=*"], names),
        (["{root}/day=*/"], names),
        (["{root}/day=*/*.parquet"], [names[0], names[2]]),
        (["{root}/day=2", "{root}/day=2/part-0.parquet"], [names[2]]),
        (["{root}/_*"], ["_SUCCESS"]),  # what is asked for by name is taken
    ]:
        assert expand(patterns, data, "s") == sorted(str(tmp_path / name) for name in expected), patterns
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"s: no file matches '.*/empty'"):
        expand(["{root}/empty"], data, "s")


def test_good_inputs_pass(tmp_path, settings_for):
    (tmp_path / "plays.csv").write_text(HEADER)
    (tmp_path / "users.csv").write_text("uid,age\n")
    users = {"files": ["{root}/users.csv"], "key": "uid", "columns": {"age_band": "age"}}
    check_inputs(settings_for(tmp_path, users=users, feeds=["1"]).data)


@pytest.mark.parametrize(
    ("header", "changes", "message"),
    [
        (
            "user_id,video_id,timestamp_ms,play_time_ms,duration_ms",
            {},
            r"plays.csv has no column 'time_ms'; close ones are .*'timestamp_ms'.* Set data.plays.columns.time_ms",
        ),
        (
            HEADER.strip(),
            {"plays": {"columns": {"platform": "tab"}}},
            r"no column 'tab'; it has 'user_id'.* Set data.plays.columns.platform",
        ),
        (HEADER.strip().replace(",platform", ""), {"feeds": ["1"]}, "no column 'platform'"),
        (HEADER.strip(), {"profile_columns": ["age"]}, "no column 'age'.* Set data.plays.columns.age"),
        (HEADER.strip() + ",user_id", {}, "has 2 columns named 'user_id'"),
    ],
)
def test_columns_that_lack(tmp_path, settings_for, header, changes, message):
    (tmp_path / "plays.csv").write_text(header + "\n")
    with pytest.raises(InputError, match=message):
        check_inputs(settings_for(tmp_path, **changes).data)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"files": ["{root}/u.csv"], "key": "uid", "columns": {"age": "aeg"}}, r"'aeg'; close ones are 'age'. Set "
         r"data.users.columns.age"),
        ({"files": ["{root}/u.csv"], "key": "id", "columns": {"age": "age"}}, r"Set data.users.key"),
        ({"files": ["{root}/none.csv"], "key": "uid", "columns": {"age": "age"}}, r"data.users.files: no file"),
    ],
)  # fmt: skip
def test_side_tables_are_checked(tmp_path, settings_for, table, message):
    (tmp_path / "plays.csv").write_text(HEADER)
    (tmp_path / "u.csv").write_text("uid,age\n")
    with pytest.raises(InputError, match=message):
        check_inputs(settings_for(tmp_path, users=table).data)


def test_empty_and_mistyped_files(tmp_path, settings_for):
    (tmp_path / "plays.csv").write_text("")
    with pytest.raises(InputError, match=r"plays.csv is empty"):
        check_inputs(settings_for(tmp_path).data)
    columns = {name: pa.array([1]) for name in ("user_id", "video_id", "play_time_ms", "duration_ms")}
    table = pa.table({**columns, "time_ms": pa.array([1], pa.timestamp("ms"))})
    pq.write_table(table, tmp_path / "plays.parquet")
    with pytest.raises(InputError, match=r"column 'time_ms' holds timestamp\[ms\], not whole milliseconds"):
        check_inputs(settings_for(tmp_path, "plays.parquet").data)


def test_the_arguments_of_the_pipeline_reach_the_object_store(settings_for, tmp_path, monkeypatch):
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import S3Options

    (tmp_path / "plays.csv").write_text(HEADER)
    given = []
    monkeypatch.setattr(FileSystems, "set_options", given.append)
    check_inputs(settings_for(tmp_path).data, ["--s3_endpoint_url=http://store"])
    assert given[0].view_as(S3Options).s3_endpoint_url == "http://store"


def test_a_file_system_that_is_not_there(settings_for, tmp_path):
    with pytest.raises(InputError, match=r"data.plays.files: cannot look for files at 'nowhere://x'") as error:
        check_inputs(settings_for(tmp_path, plays={"files": ["nowhere://x"]}).data)
    assert "\n" not in str(error.value)
