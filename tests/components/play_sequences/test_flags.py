import numpy as np

from components.play_sequences.flags import flags


def test_flags_are_strict_and_independent():
    watch = np.array([0, 2_999, 3_000, 5_000, 5_001, 7_000, 7_001, 2_000])
    thresholds = np.array([[5_000, 7_000]] * 7 + [[1_000, 1_500]])
    found = flags(watch, thresholds)
    assert found["evv"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found["fvv"].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert found["gvv"].tolist() == [1, 1, 0, 0, 0, 0, 0, 1]  # a short video may be engaged and glanced at
    assert all(f.dtype == np.int64 for f in found.values())
