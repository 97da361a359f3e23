import numpy as np
import pyarrow as pa
import pytest

from components.play_log.errors import InputError
from components.play_log.read import InvalidRow, Raw
from components.play_log.side_tables import join, one_row_per_key, parse_side_table
from components.settings import SideTable

TABLE = SideTable(files=["x"], key="id", columns={"category": "tag", "author_id": "by"})


def test_rows_become_text_and_rows_without_key_are_bad():
    batch = pa.record_batch({"by": [1.0, 2.0, 3.0], "id": [7.0, None, 8.0], "tag": ["a", "b", None]})
    raw = Raw(batch, np.array([1, 2, 3]), (InvalidRow(4, "x"),))
    rows, bad = parse_side_table(raw, "v.csv", TABLE, "video_id")
    assert rows.to_pylist() == [
        {"video_id": "7", "category": "a", "author_id": "1"},
        {"video_id": "8", "category": "", "author_id": "3"},
    ]
    assert [(b["row"], b["reason"]) for b in bad.to_pylist()] == [
        (2, "missing_video_id"),
        (4, "wrong_number_of_fields"),
    ]


def test_a_column_that_lacks():
    with pytest.raises(InputError, match=r"v.csv has no column 'by'. Correct data.videos"):
        parse_side_table(Raw(pa.record_batch({"id": ["1"], "tag": ["x"]}), np.array([1])), "v.csv", TABLE, "video_id")


def test_repeated_keys_leave_one_row_and_unknown_ids_get_nothing():
    rows = pa.record_batch(
        {"user_id": ["b", "a", "a", "a"], "age": ["4", "3", "2", "2"], "city": ["p", "q", "s", "r"]},
    )
    rows = rows.cast(pa.schema([(n, pa.large_string()) for n in rows.schema.names]))
    plays = pa.record_batch({"user_id": pa.array(["a", "x", "b", "a"], pa.large_string()), "n": [1, 2, 3, 4]})
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        shuffled = rows.take(pa.array(order))
        assert one_row_per_key(shuffled).to_pylist() == [
            {"user_id": "a", "age": "2", "city": "r"},
            {"user_id": "b", "age": "4", "city": "p"},
        ]
        joined = join(plays, shuffled, "user_id", ["age", "city"])
        assert joined.column("age").to_pylist() == ["2", "", "4", "2"]
        assert joined.column("city").to_pylist() == ["r", "", "p", "r"]
    assert join(plays, None, "user_id", ["age"]).column("age").to_pylist() == [""] * 4
