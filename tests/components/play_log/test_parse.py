import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.play_log.columns import PlayColumns
from components.play_log.errors import InputError
from components.play_log.parse import parse
from components.play_log.read import InvalidRow, Raw
from components.settings import Data

GOOD = {"user_id": "u", "video_id": "v", "time_ms": "1500", "play_time_ms": "5", "duration_ms": "10", "tab": "1"}
WINDOW = (1_000, 2_000)


def data(**changes):
    return Data.model_validate(
        {
            "plays": {"files": ["x"], "columns": {"platform": "tab"}},
            "window": {"train_from": 1_000, "evaluate_from": 1_500, "evaluate_to": 2_000},
            "time_range": {"earliest": 500, "latest": 5_000},
            "feeds": ["1"],
            **changes,
        }
    )


def parsed(rows, settings=None, invalid=()):
    batch = pa.RecordBatch.from_pylist([GOOD | row for row in rows])
    settings = settings or data()
    raw = Raw(batch, np.arange(1, len(rows) + 1), invalid)
    return parse(raw, "f.csv", settings, PlayColumns.of(settings), WINDOW)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": ""}, "missing_user_id"),
        ({"user_id": "  "}, "missing_user_id"),
        ({"video_id": ""}, "missing_video_id"),
        ({"video_id": "a\N{REPLACEMENT CHARACTER}"}, "not_utf8_video_id"),
        ({"time_ms": ""}, "missing_time_ms"),
        ({"play_time_ms": ""}, "missing_play_time_ms"),
        ({"duration_ms": " "}, "missing_duration_ms"),
        ({"time_ms": "noon"}, "not_a_number_time_ms"),
        ({"play_time_ms": "NaN"}, "not_a_number_play_time_ms"),
        ({"duration_ms": "9223372036854775808"}, "not_a_number_duration_ms"),
        ({"time_ms": "-1"}, "negative_time_ms"),
        ({"play_time_ms": "-1"}, "negative_play_time_ms"),
        ({"play_time_ms": "-0.5"}, "negative_play_time_ms"),
        ({"duration_ms": "0"}, "non_positive_duration_ms"),
        ({"duration_ms": "-3"}, "non_positive_duration_ms"),
        ({"time_ms": "499"}, "time_out_of_range"),
        ({"time_ms": "5000"}, "time_out_of_range"),
        ({"user_id": "", "time_ms": "x"}, "missing_user_id"),  # the first reason stands
    ],
)
def test_every_reason(row, reason):
    found = parsed([{}, row])
    assert found.plays.num_rows == 1
    assert found.bad.to_pylist() == [
        {"file": "f.csv", "row": 2, "reason": reason, "raw": json.dumps(GOOD | row, ensure_ascii=False)}
    ]
    assert found.counts.bad == {reason: 1} and found.counts.first_bad == {reason: ("f.csv", 2)}


def test_rows_with_a_wrong_number_of_fields():
    found = parsed([{}], invalid=(InvalidRow(7, "a,b"),))
    assert found.bad.to_pylist() == [{"file": "f.csv", "row": 7, "reason": "wrong_number_of_fields", "raw": '"a,b"'}]
    assert found.counts.rows_read == 2


def test_what_is_no_error_is_counted_apart():
    found = parsed([{}, {"tab": "0"}, {"tab": ""}, {"time_ms": "999"}, {"time_ms": "2000", "tab": "0"}])
    counts = found.counts
    assert (counts.rows_read, counts.not_a_feed, counts.outside_window) == (5, 2, 2)
    assert found.plays.num_rows == 1 and not counts.bad
    assert (counts.first_ms, counts.last_ms) == (999, 2000)


def test_feeds_are_written_like_platforms():
    assert parsed([{"tab": "1.0"}], data(feeds=["1"])).plays.num_rows == 1
    assert parsed([{"tab": "1"}], data(feeds=["1.0"])).plays.num_rows == 1
    assert parsed([{"tab": "9"}], data(feeds=None)).plays.num_rows == 1


def test_the_schema_is_ours_whatever_the_log_has():
    settings = data(profile_columns=["age"], video_columns=["category"])
    batch = pa.record_batch(
        {
            "user_id": [1.0], "video_id": [2], "time_ms": [1500.0], "play_time_ms": [5], "duration_ms": [10],
            "tab": pa.array([1], pa.int8()), "age": pa.array([None], pa.string()), "category": pa.array([3.0]),
        }
    )  # fmt: skip
    found = parse(Raw(batch, np.array([1])), "f", settings, PlayColumns.of(settings), WINDOW)
    assert found.plays.to_pylist() == [
        {
            "user_id": "1", "video_id": "2", "platform": "1", "category": "3", "age": "",
            "time_ms": 1500, "play_time_ms": 5, "duration_ms": 10,
        }
    ]  # fmt: skip


def test_a_column_that_lacks_is_said():
    batch = pa.record_batch({"user_id": ["u"]})
    with pytest.raises(InputError, match=r"f.csv has no column 'video_id'. Set data.plays.columns.video_id"):
        parse(Raw(batch, np.array([1])), "f.csv", data(), PlayColumns.of(data()), WINDOW)


def test_a_platform_may_lack_unless_feeds_are_chosen():
    row = {k: [v] for k, v in GOOD.items() if k != "tab"}
    settings = data(feeds=None, plays={"files": ["x"]})
    found = parse(Raw(pa.record_batch(row), np.array([1])), "f", settings, PlayColumns.of(settings), WINDOW)
    assert found.plays.column("platform").to_pylist() == [""]


VALUES = st.sampled_from(["", "0", "1", "5", "-1", "x", "1.5", "999", "1500", "1999", "2000", "4999", "nan", "u"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUES)), min_size=1, max_size=30))
def test_each_row_ends_in_one_place(rows):
    found = parsed(rows)
    counts = found.counts
    assert counts.rows_read == len(rows)
    assert found.bad.num_rows == sum(counts.bad.values())
    assert found.plays.num_rows + found.bad.num_rows + counts.not_a_feed + counts.outside_window == len(rows)
    times = found.plays.column("time_ms").to_numpy()
    assert ((times >= WINDOW[0]) & (times < WINDOW[1])).all()
