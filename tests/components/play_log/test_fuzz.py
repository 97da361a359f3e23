"""Whatever a file holds: a message that names it, or every row accounted for and every good one kept."""

import gzip
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.play_log import read as reading
from components.play_log.batches import concat
from components.play_log.check import check_inputs
from components.play_log.columns import PlayColumns
from components.play_log.counts import Counts
from components.play_log.dedupe import dedupe
from components.play_log.errors import InputError
from components.play_log.parse import parse
from components.settings import Data

COLUMNS = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", "platform", "note")
START, END = 1_000_000, 2_000_000
FUZZ = settings(max_examples=60, deadline=None)


def data_of(path, **changes):
    return Data.model_validate(
        {
            "plays": {"files": [str(path)]},
            "feeds": ["main", "1"],
            "video_columns": ["note"],
            "window": {"train_from": START, "evaluate_from": START + 1, "evaluate_to": END},
            "time_range": {"latest": 10_000_000},
            **changes,
        }
    )


def survey(content, name="plays"):
    """The plays and counts of one file with ``content``; an InputError has to name it, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        data = data_of(path)
        columns = PlayColumns.of(data)
        try:
            check_inputs(data)
            parts = [
                parse(raw, part.path, data, columns, (START, END))
                for part in reading.parts_of(str(path))
                for raw in reading.read(part, [data.plays.source(c) for c in columns.all])
            ]
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 2_000
            raise
    plays, duplicates = dedupe(concat([pa.RecordBatch.from_pylist([], columns.schema), *(p.plays for p in parts)]))
    counts = Counts.total([Counts(plays=plays.num_rows, duplicates=duplicates), *(p.counts for p in parts)])
    bad = [row for p in parts for row in p.bad.to_pylist()]
    assert counts.rows_read == (
        counts.plays + counts.duplicates + sum(counts.bad.values()) + counts.not_a_feed + counts.outside_window
    )
    assert len(bad) == sum(counts.bad.values()) and all(json.loads(b["raw"]) is not None for b in bad)
    return plays, counts, bad


def survives(content):
    """Read without loss, or refused by name."""
    try:
        return survey(content)
    except InputError:
        return None


# --- what a row may hold ---------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    ["nan", "NaN", "inf", "-inf", "Infinity", "-1", "-0", "1e400", "1e18", "0x10", "1_0", "1,5", ".5", "5.", "null",
     "None", "", " ", "N/A", '"', "'", "a\tb", "\x00", "\x1a", "\ufeff", "\u0665", "9" * 18, "9" * 19, "9" * 400]
)  # fmt: skip
TEXTS = ODD | st.text(max_size=8)


def goods(n):
    """``n`` plays that differ in their time."""
    return [["u" + str(i % 3), "v" + str(i % 2), str(START + i), str(i), "10", "main", ""] for i in range(n)]


def quoted(field):
    return '"' + field.replace('"', '""') + '"'


def csv_of(rows, newline="\n", bom=False, quote_all=True, header=COLUMNS, packed=False):
    lines = [",".join(map(quoted, row) if quote_all else row) for row in [header, *rows]]
    content = (b"\xef\xbb\xbf" if bom else b"") + (newline.join(lines) + newline).encode(errors="surrogatepass")
    return gzip.compress(content) if packed else content


def kept(plays):
    return set(plays.column("time_ms").to_pylist())


def good_times(n):
    return set(range(START, START + n))


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 6), TEXTS), max_size=20),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)
def test_odd_values_cost_their_own_row_only(odd, newline, bom, packed):
    rows = goods(30)
    for i, (column, value) in enumerate(odd):
        rows.insert(i * 2, [*goods(1)[0][:2], str(START + 500 + i), "5", "9", "main", ""])
        rows[i * 2][column] = value
    plays, counts, bad = survey(csv_of(rows, newline, bom, packed=packed))
    assert counts.rows_read == len(rows)
    assert good_times(30) <= kept(plays)
    assert {b["row"] for b in bad} <= {i * 2 + 1 for i in range(len(odd))}


@FUZZ
@given(st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=12, max_size=12), st.booleans())
def test_mixed_newlines(newlines, blank):
    content = b""
    for row, newline in zip([list(COLUMNS), *goods(11)], newlines, strict=True):
        content += ",".join(row).encode() + newline.encode() * (1 + blank)
    plays, counts, _ = survey(content)
    assert kept(plays) == good_times(11) and counts.rows_read == 11


CORRUPTION = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 40)), min_size=1, max_size=4
)


def corrupted(content, changes):
    for place, put, length in changes:
        at = int(place * len(content))
        content = content[:at] + put + content[at + length :]
    return content


def parquet_of(rows, **options):
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


WHOLE = {
    "csv": csv_of(goods(200)),
    "csv.gz": csv_of(goods(200), packed=True),
    "plain csv": csv_of(goods(200), quote_all=False),
    "parquet": parquet_of(goods(200), row_group_size=64),
    "raw parquet": parquet_of(goods(200), compression="none", use_dictionary=False),
}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*WHOLE]), CORRUPTION)
def test_damage_anywhere(kind, changes):
    survives(corrupted(WHOLE[kind], changes))


@FUZZ
@given(st.sampled_from([*WHOLE]), st.floats(0, 1, exclude_max=True))
def test_cut_short(kind, share):
    content = WHOLE[kind][: int(share * len(WHOLE[kind]))]
    found = survives(content)
    if kind in ("csv.gz", "parquet", "raw parquet"):
        assert found is None  # such a file says where it ends


@FUZZ
@given(
    st.sampled_from([b"", b"PAR1", b"\x1f\x8b", b"\x1f\x8b\x08\x00", ",".join(COLUMNS).encode() + b"\n"]),
    st.binary(max_size=300),
)
def test_random_bytes(head, rest):
    survives(head + rest)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(0, 29), st.integers(0, 6), st.sampled_from(['"', '"x', 'x"', '"x"y', 'x"y"', '""x'])),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([1 << 20, 2_000]),
)
def test_stray_quotes_cost_their_own_row_only(stray, newline, block):
    rows = goods(30)
    for row, column, value in stray:
        rows[row][column] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CSV_BLOCK_BYTES", block)
        plays, counts, _ = survey(csv_of(rows, newline, quote_all=False))
    # Stray quotes side by side may make one row of two.
    assert 30 - len(stray) // 2 <= counts.rows_read <= 30
    assert kept(plays) >= good_times(30) - {START + row for row, *_ in stray}


@FUZZ
@given(
    st.lists(st.text(st.sampled_from('a,"\n\r'), max_size=12), min_size=12, max_size=12),
    st.sampled_from([1 << 20, 2_000]),
)
def test_values_over_several_lines(notes, block):
    rows = [[*row[:6], note] for row, note in zip(goods(12), notes, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CSV_BLOCK_BYTES", block)
        plays, _, bad = survey(csv_of(rows))
    assert kept(plays) == good_times(12) and not bad
    found = dict(zip(plays.column("time_ms").to_pylist(), plays.column("note").to_pylist(), strict=True))
    assert [found[START + i] for i in range(12)] == notes


@pytest.mark.parametrize("quote_all", [True, False])
def test_a_field_of_a_million_characters(quote_all):
    rows = goods(5)
    rows[1][6], rows[2][0], rows[3][2] = "x" * 1_000_000, "u" * 1_000_000, "9" * 1_000_000
    plays, counts, _ = survey(csv_of(rows, quote_all=quote_all))
    assert kept(plays) == good_times(5) - {START + 3} and counts.bad == {"not_a_number_time_ms": 1}
    assert plays.column("note").to_pylist().count("x" * 1_000_000) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n\n", "\ufeff\r\n"])
def test_headers(newline, before):
    text = csv_of(goods(3), newline)
    assert survey(before.encode() + text)[1].plays == 3
    assert survey(before.encode() + text[: text.index(b"u0") - 1])[1].rows_read == 0  # a header alone
    assert survey(text.replace(b"\n", b"\n\n"))[1].plays == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "has no column 'duration_ms'"),
        (b"\n\n", "has no column 'duration_ms'"),
        (gzip.compress(b""), "has no column"),
        (csv_of(goods(3)).decode().encode("utf-16"), "is neither CSV"),
        (gzip.compress(parquet_of(goods(3))), "is neither CSV"),
        (gzip.compress(gzip.compress(csv_of(goods(3)))), "is neither CSV"),
        (csv_of(goods(3), packed=True) + b"junk", "may be damaged"),
        (csv_of([[*row, "x"] for row in goods(3)], header=(*COLUMNS, "user_id")), "has 2 columns named 'user_id'"),
        (b",".join(b"c%d" % i for i in range(10_000)) + b"\n", r"it has 'c0', .* and 9988 more"),
    ],
)
def test_files_that_are_no_log(content, message):
    with pytest.raises(InputError, match=message):
        survey(content)


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_name_that_stands_twice_does_not_matter_where_it_is_not_read(repeats):
    header = (*COLUMNS, *["other"] * (1 + repeats))
    assert survey(csv_of([row + ["x"] * (1 + repeats) for row in goods(3)], header=header))[1].plays == 3


# --- Parquet: whatever type a column has -----------------------------------------------------------------------------

NUMBERS = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float16": (pa.float16(), st.floats(width=16).map(np.float16)),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats()),
    "decimal": (pa.decimal128(30, 3), st.decimals(-(10**20), 10**20, places=3)),
    "string": (pa.string(), TEXTS.filter(lambda t: "\ud800" not in t)),
    "binary": (pa.binary(), st.binary(max_size=6)),
    "null": (pa.null(), st.none()),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us", "UTC"), st.integers(-(2**60), 2**60)),
    "duration": (pa.duration("ms"), st.integers(0, 2**40)),
    "time": (pa.time64("us"), st.times()),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=2)),
    "struct": (pa.struct({"a": pa.int64()}), st.fixed_dictionaries({"a": st.integers(0, 9)})),
    "map": (
        pa.map_(pa.string(), pa.int64()),
        st.dictionaries(st.text("ab", max_size=2), st.integers(0, 9), max_size=2),
    ),
}


@pytest.mark.parametrize("encoded", [True, False])
def test_parquet_text_that_is_no_utf8(encoded):
    rows = goods(4)
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})
    for column, raw in (
        ("user_id", [b"u", b"\xff", None, b"u"]),
        ("time_ms", [b"1000000", b"1\x80", b"1000002", b"1000003"]),
    ):
        offsets = pa.py_buffer(b"".join(raw_offset.to_bytes(4, "little") for raw_offset in _offsets(raw)))
        broken = pa.Array.from_buffers(pa.string(), 4, [None, offsets, pa.py_buffer(b"".join(r or b"" for r in raw))])
        table = table.set_column(COLUMNS.index(column), column, broken.dictionary_encode() if encoded else broken)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    plays, counts, _ = survey(sink.getvalue())
    assert kept(plays) == {START, START + 3}
    assert counts.bad == {"not_utf8_user_id": 1, "missing_user_id": 1}


def _offsets(values):
    sizes = [0, *(len(v or b"") for v in values)]
    return [sum(sizes[: i + 1]) for i in range(len(sizes))]


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(COLUMNS), st.sampled_from([*NUMBERS]), st.booleans())
def test_a_parquet_column_of_any_type(draw, column, kind, encoded):
    rows = goods(8)
    table = pa.table({name: pa.array([row[i] for row in rows]) for i, name in enumerate(COLUMNS)})
    type_, values = NUMBERS[kind]
    made = pa.array(draw.draw(st.lists(values | st.none(), min_size=8, max_size=8)), type_)
    if encoded and kind in ("int64", "string", "binary", "float64"):
        made = made.dictionary_encode()
    sink = io.BytesIO()
    pq.write_table(table.set_column(COLUMNS.index(column), column, made), sink, row_group_size=5)
    found = survives(sink.getvalue())
    if column == "note" and kind not in ("list", "struct", "map"):
        assert kept(found[0]) == good_times(8)  # nothing depends on it
    if found:
        assert found[1].rows_read == 8
