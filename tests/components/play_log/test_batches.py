import pickle

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.play_log.batches import RecordBatchCoder, bucket_numbers, concat, split_by_bucket, text_ranks

BATCH = pa.record_batch({"user_id": pa.array([str(i) for i in range(1000)], pa.large_string()), "n": range(1000)})


def test_the_coder_keeps_a_batch_and_nothing_else():
    coder = RecordBatchCoder()
    piece = BATCH.slice(10, 2).replace_schema_metadata({b"table": b"x"})
    encoded = coder.encode(piece)
    again = coder.decode(encoded)
    assert again.equals(piece) and again.schema.metadata == {b"table": b"x"}
    assert len(encoded) < len(coder.encode(BATCH)) / 10
    assert coder.decode(coder.encode(BATCH.slice(0, 0))).num_rows == 0
    assert isinstance(pickle.loads(pickle.dumps(coder)), RecordBatchCoder)


def test_buckets_hold_each_row_once_and_an_id_in_one_bucket():
    parts = dict(split_by_bucket(concat([BATCH, BATCH]), "user_id", 7))
    assert set(parts) == set(range(7))
    assert sum(p.num_rows for p in parts.values()) == 2000
    seen = [set(p.column("user_id").to_pylist()) for p in parts.values()]
    assert sum(map(len, seen)) == 1000
    assert list(split_by_bucket(BATCH.slice(0, 0), "user_id", 7)) == []


def test_the_hash_is_the_same_in_every_release():
    ids = pa.array(["0", "1", "", "視頻"], pa.large_string())
    assert bucket_numbers(ids, 1 << 31).tolist() == [
        0xF4DBDF21 % (1 << 31),
        0x83DCEFB7 % (1 << 31),
        0,
        bucket_numbers(ids, 1 << 31)[3],
    ]  # fmt: skip  (CRC-32, as zip files have it)


@given(st.lists(st.text()))
def test_ranks_order_as_bytes_do(texts):
    ranks = text_ranks(pa.array(texts, pa.large_string()))
    order = sorted(range(len(texts)), key=lambda i: texts[i].encode())
    assert (np.diff(ranks[order]) >= 0).all()
    for i, a in enumerate(texts[:-1]):
        assert (ranks[i] == ranks[i + 1]) == (a == texts[i + 1])
