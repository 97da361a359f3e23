"""Set-up shared by all tests."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import model  # noqa: F401  (sets Keras 2 before anything imports TensorFlow)

#: Slow kinds of tests, in the order in which they run after the fast ones.
LATER = ("beam", "training", "pipeline", "realdata")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast unit tests first, then Beam, then training, then whole pipelines."""
    items.sort(
        key=lambda item: max((LATER.index(m.name) + 1 for m in item.iter_markers() if m.name in LATER), default=0)
    )
