"""Columns that belong together: a frozen dataclass whose fields are arrays of equal length, or such dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Columns:
    """Base of dataclasses of arrays; the first axis of every array counts the same rows."""

    @classmethod
    def names(cls) -> list[str]:
        """The names of the columns."""
        return [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # subclasses are dataclasses

    def __getitem__(self, rows: Ints | Bools) -> Self:
        """The rows of this index or mask, copied."""
        return type(self)(**{name: getattr(self, name)[rows] for name in self.names()})

    def write(self, rows: Ints, part: Self) -> None:
        """Writes ``part`` over these ``rows``, in place."""
        for name in self.names():
            getattr(self, name)[rows] = getattr(part, name)


T = TypeVar("T", bound=Columns)


def concat(parts: Sequence[T]) -> T:
    """All rows of the parts, in their order; at least one part is needed."""
    columns: dict[str, Any] = {}
    for name in parts[0].names():
        values = [getattr(part, name) for part in parts]
        columns[name] = concat(values) if isinstance(values[0], Columns) else np.concatenate(values)
    return type(parts[0])(**columns)
