import gzip
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.play_log import read as reading
from components.play_log.errors import InputError
from components.play_log.read import parts_of, read, schema_of


def rows_of(path, columns):
    """(row number, values) of all rows, and the invalid ones."""
    rows, invalid = [], []
    for part in parts_of(str(path)):
        for raw in read(part, columns):
            rows += zip(raw.rows.tolist(), raw.batch.to_pylist(), strict=True)
            invalid += [(i.row, i.text) for i in raw.invalid]
    return rows, invalid


def test_csv_rows_are_numbered_around_broken_and_blank_ones(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b,c\n0,x,1\n1,2\n2,x,1\n\n3,"x\ny",1\n1,2,3,4\n5,x,1\n6,x,1\nz,2')
    expected = ([(1, "x"), (3, "x"), (4, "x\ny"), (6, "x"), (7, "x")], [(2, "1,2"), (5, "1,2,3,4"), (8, "z,2")])
    for block in (1 << 20, 24):
        monkeypatch.setattr(reading, "CSV_BLOCK_BYTES", block)
        rows, invalid = rows_of(path, ["b"])
        assert ([(n, r["b"]) for n, r in rows], invalid) == expected


def test_row_numbers_of_many_small_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CSV_BLOCK_BYTES", 64)
    rng = random.Random(1)
    broken = {n for n in range(1, 500) if rng.random() < 0.3}
    lines = ["a,b"] + [f"{n}" if n in broken else f"{n},y" for n in range(1, 500)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    rows, invalid = rows_of(path, ["a"])
    assert all(int(r["a"]) == n for n, r in rows)
    assert {n for n, _ in invalid} == broken and len(rows) == 499 - len(broken)


def test_the_content_says_what_a_file_is(tmp_path):
    text = b"a,b\n1,x\n2,y\n"
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text[:4]) + gzip.compress(text[4:]))  # two gzip members
    pq.write_table(pa.table({"a": ["1", "2"], "b": ["x", "y"]}), tmp_path / "columns")
    for name in ("plain", "packed", "columns"):
        assert schema_of(str(tmp_path / name)).names == ["a", "b"]
        rows, _ = rows_of(tmp_path / name, ["b", "a", "absent"])
        assert [(n, r["a"], r["b"]) for n, r in rows] == [(1, "1", "x"), (2, "2", "y")]


def test_parquet_is_read_by_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PARQUET_BATCH_ROWS", 3)
    pq.write_table(pa.table({"a": np.arange(10), "b": np.arange(10)}), tmp_path / "p", row_group_size=4)
    parts = parts_of(str(tmp_path / "p"))
    assert [(p.row_group, p.first_row) for p in parts] == [(0, 1), (1, 5), (2, 9)]
    rows, _ = rows_of(tmp_path / "p", ["a"])
    assert rows == [(n + 1, {"a": n}) for n in range(10)]


def test_broken_characters_cost_their_own_value_only(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\xff\xfe\n\xff\n3,z\n")
    rows, invalid = rows_of(tmp_path / "a.csv", ["a", "b"])
    assert [r["a"] for _, r in rows] == ["1", "3"] and rows[0][1]["b"] == "\N{REPLACEMENT CHARACTER}" * 2
    assert invalid == [(2, "\N{REPLACEMENT CHARACTER}")]


def test_a_header_alone_is_a_file_without_rows(tmp_path):
    for text in ("a,b", "a,b\n", "a,b\r\n"):
        (tmp_path / "a.csv").write_bytes(text.encode())
        assert schema_of(str(tmp_path / "a.csv")).names == ["a", "b"]
        assert rows_of(tmp_path / "a.csv", ["a"]) == ([], [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", "is empty"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)[:-100], "may be damaged or cut short"),
        ("g.csv.gz", b"\x1f\x8bnonsense", "may be damaged or cut short"),
        ("p.parquet", b"PAR1nonsense", "may be damaged or cut short"),
        ("q.csv", b"a,b\n1," + b"2" * 100 + b"\n3,4\n", "may be damaged or cut short"),
    ],
)
def test_damaged_files_are_named(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(reading, "CSV_BLOCK_BYTES", 32)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        rows_of(path, ["a"])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_column_that_stands_twice(tmp_path):
    (tmp_path / "a.csv").write_text("a,a\n1,2\n")
    with pytest.raises(InputError, match="has 2 columns named 'a'"):
        rows_of(tmp_path / "a.csv", ["a"])


def test_folders_give_columns(tmp_path):
    folder = tmp_path / "day=2024-03-04" / "tab=a%2Fb" / "x=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir(parents=True)
    (folder / "a=1.csv").write_text("a,b\n1,x\n2\n3,y\n")
    pq.write_table(pa.table({"a": ["1", "3"], "day": ["own", "own"]}), folder / "p")
    assert schema_of(str(folder / "a=1.csv")).names == ["a", "b", "day", "tab", "x"]
    assert schema_of(str(folder / "p")).names == ["a", "day", "tab", "x"]
    rows, invalid = rows_of(folder / "a=1.csv", ["day", "a", "tab", "x"])
    given = {"day": "2024-03-04", "tab": "a/b", "x": None}
    assert rows == [(1, {"a": "1", **given}), (3, {"a": "3", **given})] and invalid == [(2, "2")]
    rows, _ = rows_of(folder / "p", ["day", "tab"])  # the file's own column comes first
    assert rows == [(1, {"day": "own", "tab": "a/b"}), (2, {"day": "own", "tab": "a/b"})]
    rows, _ = rows_of(folder / "p", ["tab"])
    assert [r["tab"] for _, r in rows] == ["a/b"] * 2
