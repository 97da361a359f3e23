"""Vocabularies inside the served graph: the ids of ``model.preprocessing``, from the same files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from model.preprocessing import RESERVED_IDS, vocabulary_name


class Vocabularies(tf.Module):
    """One look-up table per categorical feature; the files travel as assets of the SavedModel."""

    def __init__(self, files: dict[str, str]):
        """Args: files: feature → vocabulary file, one value a line."""
        super().__init__(name="vocabularies")
        self.values = {name: read_vocabulary(path) for name, path in files.items()}
        self._tables = {
            name: tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
                ),
                default_value=-1,
            )
            for name, path in files.items()
        }

    @classmethod
    def from_transform(cls, transform_output: Any, names: Iterable[str]) -> Vocabularies:
        """The vocabularies of a ``tft.TFTransformOutput``."""
        return cls({name: transform_output.vocabulary_file_by_name(vocabulary_name(name)) for name in names})

    def size(self, feature: str) -> int:
        """Rows that the feature's embedding table needs, the reserved ids included."""
        return len(self.values[feature]) + RESERVED_IDS

    def ids(self, feature: str, values: tf.Tensor) -> tf.Tensor:
        """Ids int64 of ``values`` (string, any shape)."""
        ids = self._tables[feature].lookup(values) + RESERVED_IDS
        return tf.where(values == "", tf.zeros_like(ids), tf.maximum(ids, 1))


def read_vocabulary(path: str) -> list[bytes]:
    """The values of a vocabulary file, in the order of their ids."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return [line for line in file.read().split(b"\n") if line]
