import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from components.play_log.batches import concat
from components.play_log.dedupe import dedupe

PLAY = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u", "v"]),
        "video_id": st.sampled_from(["a", "b"]),
        "platform": st.sampled_from(["1", "2", ""]),
        "category": st.sampled_from(["x", "y"]),
        "time_ms": st.integers(0, 2),
        "play_time_ms": st.integers(0, 2),
        "duration_ms": st.integers(1, 2),
    }
)


SCHEMA = pa.schema(
    [(n, pa.string()) for n in ("user_id", "video_id", "platform", "category")]
    + [(n, pa.int64()) for n in ("time_ms", "play_time_ms", "duration_ms")]
)


def rows(batch):
    return sorted(batch.to_pylist(), key=lambda r: tuple(r.values()))


def test_the_longest_watch_is_kept():
    base = {"user_id": "u", "video_id": "a", "time_ms": 1}
    given_rows = [
        base | {"platform": "2", "play_time_ms": 5, "duration_ms": 9},
        base | {"platform": "1", "play_time_ms": 7, "duration_ms": 8},
        base | {"platform": "3", "play_time_ms": 7, "duration_ms": 9},
        base | {"platform": "2", "play_time_ms": 7, "duration_ms": 9},
        base | {"platform": "0", "play_time_ms": 0, "duration_ms": 1, "time_ms": 2},
    ]
    kept, dropped = dedupe(pa.RecordBatch.from_pylist(given_rows))
    assert dropped == 3
    assert rows(kept) == rows(pa.RecordBatch.from_pylist([given_rows[3], given_rows[4]]))


@settings(deadline=None)
@given(st.lists(PLAY, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_no_order_of_arrival_matters(plays, random):
    kept, dropped = dedupe(pa.RecordBatch.from_pylist(plays, SCHEMA))
    keys = {(p["user_id"], p["video_id"], p["time_ms"]) for p in plays}
    assert kept.num_rows == len(keys) and dropped == len(plays) - len(keys)
    best = {}
    for p in plays:
        rank = (-p["play_time_ms"], -p["duration_ms"], p["platform"], p["category"])
        key = (p["user_id"], p["video_id"], p["time_ms"])
        best[key] = min(best.get(key, rank), rank)
    for row in kept.to_pylist():
        rank = (-row["play_time_ms"], -row["duration_ms"], row["platform"], row["category"])
        assert rank == best[row["user_id"], row["video_id"], row["time_ms"]]
    shuffled = list(plays)
    random.shuffle(shuffled)
    halves = [pa.RecordBatch.from_pylist(part, SCHEMA) for part in (shuffled[::2], shuffled[1::2]) if part]
    assert rows(dedupe(concat(halves))[0]) == rows(kept)
