import pytest

from components.play_log.counts import Counts, moment
from components.play_log.errors import InputError, raise_plainly

A = Counts(
    rows_read=6, bad={"x": 1}, duplicates=1, plays=3, not_a_feed=1, first_ms=5, last_ms=9, first_bad={"x": ("b", 3)}
)
B = Counts(rows_read=3, bad={"x": 1, "y": 2}, first_bad={"x": ("a", 7), "y": ("c", 1)}, examples={"train": 2})


def test_counts_add_up_in_any_order():
    total = Counts.total([A, B])
    assert total == Counts.total([B, A]) == Counts.total([Counts(), A, B])
    assert (total.rows_read, total.bad, total.first_ms, total.last_ms) == (9, {"x": 2, "y": 2}, 5, 9)
    assert total.first_bad == {"x": ("a", 7), "y": ("c", 1)} and total.examples == {"train": 2}
    assert Counts.from_json(total.to_json()) == total


def test_too_many_bad_rows_are_said_by_reason(tmp_path, settings_for):
    data = settings_for(tmp_path, max_bad_row_fraction=0.4).data
    with pytest.raises(InputError, match=r"4 of 9 rows .* bad \(44.44%\).* \(40.00%\): 2 x \(first in a, row 7\), 2 y"):
        Counts.total([A, B]).check_log(data)
    Counts.total([A, B]).check_log(settings_for(tmp_path, max_bad_row_fraction=0.5).data)


def test_an_empty_log_is_refused(tmp_path, settings_for):
    with pytest.raises(InputError, match="The play log has no rows"):
        Counts().check_log(settings_for(tmp_path).data)


def test_lost_rows_are_noticed(tmp_path, settings_for):
    with pytest.raises(AssertionError, match="lost or invented: 5 read, 4 accounted"):
        Counts(rows_read=5, plays=4).check_log(settings_for(tmp_path).data)


def test_moments_are_read_in_the_logs_time_zone():
    assert moment(0, "Asia/Shanghai") == "1970-01-01 08:00:00"
    assert moment(2**62, "UTC") == f"{2**62} ms"


def test_the_users_line_is_found_in_what_a_worker_raised():
    text = (
        "Traceback (most recent call last):\n  ...\n"
        "components.play_log.errors.InputError: a.csv is empty: [x]. Mend it. [while running 'Read/Parse']\n"
    )
    with pytest.raises(InputError, match=r"^a.csv is empty: \[x\]. Mend it.$"):
        raise_plainly(RuntimeError(text))
    with pytest.raises(InputError, match=r"^told$"):
        raise_plainly(InputError("told [while running 'Parse']"))
    with pytest.raises(KeyError):
        raise_plainly(KeyError("other"))
