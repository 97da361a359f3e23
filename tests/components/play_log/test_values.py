import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.play_log.values import to_numbers, to_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        (" 12 ", 12),
        ("1033.0", 1033),
        ("1033.9", 1033),
        ("7.", 7),
        ("+5", 5),
        ("-3", -3),
        ("-0.5", -1),
        ("1.5e3", 1500),
        (".5", 0),
        ("9007199254740993.0", 9007199254740993),  # a float would lose the last digit
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_numbers_as_text(text, value):
    for column in (pa.array([text]), pa.array([text, "1"]), pa.array([text]).dictionary_encode()):
        values, missing, wrong = to_numbers(column)
        assert (values[0], missing[0], wrong[0]) == (value, False, False)


@pytest.mark.parametrize(
    "text", ["abc", "NaN", "inf", "-Infinity", "1e400", "1e19", "9223372036854775808", "1_000", "0x10", "1,5", "--1"]
)
def test_no_numbers(text):
    values, missing, wrong = to_numbers(pa.array([text, "4"]))
    assert wrong.tolist() == [True, False] and not missing.any() and values.tolist() == [0, 4]


def test_missing_numbers():
    for column in (pa.array(["", " ", None, "4"]), pa.array([None, None, None, 4]), pa.array([None, None, None, 4.5])):
        values, missing, wrong = to_numbers(column)
        assert missing.tolist() == [True, True, True, False] and not wrong.any() and values.tolist() == [0, 0, 0, 4]


def test_typed_numbers():
    values, missing, wrong = to_numbers(pa.array([1.9, float("nan"), float("inf"), 1e19, -0.5, 2.0**62]))
    assert values.tolist() == [1, 0, 0, 0, -1, 2**62] and not missing.any()
    assert wrong.tolist() == [False, True, True, True, False, False]
    values, _, wrong = to_numbers(pa.array([1, 2**64 - 1], pa.uint64()))
    assert values[0] == 1 and wrong.tolist() == [False, True]
    values, _, wrong = to_numbers(pa.array([decimal.Decimal("12.50")]))
    assert values.tolist() == [12] and not wrong.any()
    for kind in (pa.int8(), pa.uint32(), pa.int32()):
        assert to_numbers(pa.array([7], kind))[0].tolist() == [7]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from(["x", "1.5"]), min_size=1))
def test_every_int64_survives(values):
    found, missing, wrong = to_numbers(pa.array([str(v) for v in values]))
    expected = [{"x": 0, "1.5": 1}.get(v, v) for v in values]
    assert found.tolist() == expected and not missing.any()
    assert wrong.tolist() == [v == "x" for v in values]


def test_ids_are_the_same_whatever_wrote_them():
    for column in (
        pa.array(["1", "20", None]),
        pa.array(["1.0", "20.00", ""]),
        pa.array([1, 20, None]),
        pa.array([1.0, 20.0, None]),
        pa.array([1.0, 20.0, float("nan")]),
        pa.array([b"1", b"20", None]),
        pa.array(["1", "20", None]).dictionary_encode(),
        pa.array([1, 20, None], pa.uint64()),
    ):
        assert to_text(column).to_pylist() == ["1", "20", ""], column.type


def test_other_values_as_text():
    assert to_text(pa.array([1.5, 2.0, float("inf"), 1e300])).to_pylist() == ["1.5", "2", "", "1e+300"]
    assert to_text(pa.array(["v1.0", "a.b", "1.50", " x "])).to_pylist() == ["v1.0", "a.b", "1.50", " x "]
    assert to_text(pa.array([True, None])).to_pylist() == ["true", ""]
    assert to_text(pa.array([datetime.date(2024, 1, 2)])).to_pylist() == ["2024-01-02"]
    assert to_text(pa.array([b"\xff"])).to_pylist() == ["\N{REPLACEMENT CHARACTER}"]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)))
def test_floats_are_floored_or_refused(values):
    found, missing, wrong = to_numbers(pa.array(values, pa.float64()))
    for value, number, no in zip(values, found, wrong, strict=True):
        fits = np.isfinite(value) and -(2.0**63) <= np.floor(value) < 2.0**63
        assert no == (not fits) and number == (int(np.floor(value)) if fits else 0)
    assert not missing.any()


SECONDS = [
    ("1593878903.438", 1593878903438),
    ("1593878903", 1593878903000),
    ("1593878903.4", 1593878903400),
    ("1593878903.43899", 1593878903438),
    ("7.", 7000),
    (".5", 500),
    ("-0.0005", -1),
    ("1.593878903438e9", 1593878903438),
    ("9223372036854775.807", 2**63 - 1),
    ("9223372036854775808", None),
    ("9223372036854776", None),
]


@pytest.mark.parametrize(("text", "milliseconds"), SECONDS)
def test_seconds_become_milliseconds(text, milliseconds):
    for column in (pa.array([text]), pa.array([text, "1"]), pa.array([text, "1.5"]).dictionary_encode()):
        values, missing, wrong = to_numbers(column, 3)
        assert (values[0], wrong[0]) == ((0, True) if milliseconds is None else (milliseconds, False)) and not missing[
            0
        ]


def test_typed_seconds():
    values, missing, wrong = to_numbers(pa.array([1593878903, 2**60, -(2**60), None]), 3)
    assert values.tolist() == [1593878903000, 0, 0, 0] and missing.tolist() == [False, False, False, True]
    assert wrong.tolist() == [False, True, True, False]
    values, _, wrong = to_numbers(pa.array([float("nan"), 1e300, -0.0005]), 3)
    assert values.tolist() == [0, 0, -1] and wrong.tolist() == [True, True, False]


@given(st.lists(st.integers(0, 4_102_444_800_000), min_size=1))
def test_no_millisecond_is_lost_in_a_float_of_seconds(times):
    for column in (pa.array([t / 1000 for t in times]), pa.array([repr(t / 1000) for t in times])):
        assert to_numbers(column, 3)[0].tolist() == times
