import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.settings import Quantiles
from components.watch_time_quantiles import partial
from components.watch_time_quantiles.table import QuantileTable, duration_bucket
from components.watch_time_quantiles.transforms import duration_histogram, merge_histograms, table_of

EDGES = np.array([10, 20, 30])


def table():
    return QuantileTable.of_plays(
        EDGES,
        min_plays=3,
        video_id=["b", "a", "b", "b", "a", "c"],
        watch_ms=np.array([1, 2, 3, 4, 5, 6]),
        duration_ms=np.array([9, 9, 10, 19, 30, 30]),
    )


def test_buckets_hold_their_lower_edge():
    assert duration_bucket(EDGES, np.array([0, 9, 10, 19, 20, 29, 30, 99])).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_thresholds_fall_back_from_video_to_bucket_to_all():
    t = table()
    assert t.video_id == ["b"] and t.video_ms.tolist() == [[3, 3]] and t.video_plays.tolist() == [3]
    assert t.global_ms.tolist() == [3, 4]  # of 1 … 6
    assert t.bucket_ms.tolist() == [[1, 2], [3, 4], [3, 4], [5, 6]]  # no play in [20, 30): the global ones
    found = t.thresholds(["b", "b", "a", "new", "new", ""], np.array([9, 99, 9, 10, 25, 30]))
    assert found.tolist() == [[3, 3], [3, 3], [1, 2], [3, 4], [3, 4], [5, 6]]
    assert found.dtype == np.int64
    as_arrow = pa.array(["a", "b"], pa.large_string())
    assert t.thresholds(as_arrow, np.array([9, 9])).tolist() == [[1, 2], [3, 3]]
    assert t.thresholds([], np.zeros(0, np.int64)).shape == (0, 2)


def test_a_table_without_videos_of_its_own():
    t = QuantileTable.of_plays(EDGES, 20, ["a"], np.array([7]), np.array([15]))
    assert t.thresholds(["a", "b"], np.array([15, 5])).tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize("ids", [["b"], []])
def test_save_and_load(tmp_path, ids):
    t = table()
    n = len(ids)
    error = np.full(n, 0.001)
    t = QuantileTable(t.edges_ms, t.bucket_ms, t.global_ms, ids, t.video_ms[:n], t.video_plays[:n], error)
    t.save(str(tmp_path / "x"))
    again = QuantileTable.load(str(tmp_path / "x"))
    assert again.video_id == t.video_id
    for name in ("edges_ms", "bucket_ms", "global_ms", "video_ms", "video_plays"):
        found = getattr(again, name)
        assert found.dtype == np.int64 and found.shape == getattr(t, name).shape
        assert (found == getattr(t, name)).all()
    assert again.video_rank_error.tolist() == error.tolist() and again.video_rank_error.dtype == np.float64
    assert table().video_rank_error.tolist() == [0]


def test_shapes_are_checked():
    t = table()
    with pytest.raises(ValueError, match=r"`bucket_ms` must have the shape \(4, 2\)"):
        QuantileTable(t.edges_ms, t.bucket_ms[:2], t.global_ms, t.video_id, t.video_ms, t.video_plays)


PLAY = st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.integers(1, 40_000))


@given(st.lists(st.lists(PLAY, max_size=40), min_size=1, max_size=3).filter(any))
def test_buckets_of_users_make_the_table_of_all_plays(buckets):
    settings = Quantiles.model_validate(
        {"min_plays": 3, "duration_edges": {"first_ms": 5, "last_ms": 9_000, "count": 4}, "exact_up_to": 10}
    )
    parts, histograms = {}, []
    for number, own in enumerate(buckets):
        batch = pa.record_batch(
            {
                "video_id": pa.array([p[0] for p in own], pa.large_string()),
                "play_time_ms": pa.array([p[1] for p in own], pa.int64()),
                "duration_ms": pa.array([p[2] for p in own], pa.int64()),
            }
        )
        for bucket, part in partial.of_plays(number, batch, settings, 2):
            parts.setdefault(bucket, []).append(part)
        histograms.append(duration_histogram(batch, settings))
    videos = [partial.videos_of(partial.merged(p), settings) for p in parts.values()]
    made = table_of(videos, merge_histograms(histograms), settings)
    plays = [p for own in buckets for p in own]
    direct = QuantileTable.of_plays(
        settings.duration_edges.edges_ms, 3, *(np.array([p[i] for p in plays]) for i in range(3))
    )
    assert list(made.video_id) == list(direct.video_id)
    for name in ("edges_ms", "bucket_ms", "global_ms", "video_ms", "video_plays", "video_rank_error"):
        assert (getattr(made, name) == getattr(direct, name)).all()


def test_the_model_can_import_the_table_without_beam_or_tfx():
    script = (
        "import components.watch_time_quantiles.table, sys\n"
        "assert not {'apache_beam', 'tfx', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
