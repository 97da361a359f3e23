"""Bulk scoring: the probabilities of plays in a log, by ``serving_default``, over Beam."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from components.features import FLAGS
from components.play_log.batches import ints
from components.play_log.errors import InputError
from components.play_sequences.examples import Encoder, bounds_of, example_batches
from components.play_sequences.frozen import frozen
from components.play_sequences.transforms import UserPlays, segment_examples
from components.play_sequences.windows import Segment
from components.settings import Components
from pipeline.settings import Settings

History = Literal["play", "window"]

#: Examples in one call of the model.
BATCH = 256

#: One row per scored play.
SCORES = pa.schema(
    [("user_id", pa.string()), ("video_id", pa.string()), ("time_ms", pa.int64())]
    + [(name, pa.float32()) for name in (*FLAGS, "score")]
)


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What is scored.

    Attributes:
        settings: Of the data side; ``data.plays.files`` are the plays read.
        model: Folder of the SavedModel.
        segment: The plays that are scored.
        history: ``play``: each history reaches up to its play. ``window``: all are frozen at the segment's start.
    """

    settings: Components
    model: str
    segment: Segment
    history: History

    def examples(self, plays: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Batches of examples of some users' sorted plays."""
        if self.history == "play":
            return segment_examples(plays, self.segment, self.settings)[1]
        history_length = self.settings.sequences.history_length
        places, windows = frozen(bounds_of(plays), ints(plays.column("time_ms")), self.segment, history_length)
        return example_batches(plays.take(pa.array(places)), windows, self.settings.data.features)


class _Score(beam.DoFn):
    """Sorted plays of a bucket of users to batches of SCORES."""

    def __init__(self, scoring: Scoring):
        self._scoring = scoring

    def setup(self) -> None:
        import tensorflow as tf

        self._model = tf.saved_model.load(self._scoring.model)
        self._encoder = Encoder()

    def process(self, element: tuple[int, pa.RecordBatch]) -> Iterator[pa.Table]:
        for examples in self._scoring.examples(element[1]):
            for start in range(0, examples.num_rows, BATCH):
                batch = examples.slice(start, BATCH)
                yield scored(batch, self._predict(self._encoder.encode(batch)))

    def _predict(self, serialized: list[bytes]) -> dict[str, Any]:
        import tensorflow as tf

        out = self._model.signatures["serving_default"](examples=tf.constant(serialized))
        return {name: value.numpy() for name, value in out.items()}


def scored(examples: pa.RecordBatch, predictions: dict[str, Any]) -> pa.Table:
    """The target plays of some examples with their predictions.

    Args:
        examples: One list per feature and example.
        predictions: By output, [B, P], padded to the longest example.
    """
    lengths = np.diff(examples.column("video_id").offsets.to_numpy())
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.flatnonzero(examples.column("is_target").flatten().to_numpy())
    columns = {
        "user_id": examples.column("user_id").flatten().take(pa.array(row[target])),
        "video_id": examples.column("video_id").flatten().take(pa.array(target)),
        "time_ms": examples.column("time_ms").flatten().take(pa.array(target)),
        **{name: pa.array(predictions[name][row[target], place[target]]) for name in (*FLAGS, "score")},
    }
    return pa.table({name: columns[name].cast(SCORES.field(name).type) for name in SCORES.names})


def newest_version(model: Path) -> Path:
    """The SavedModel in ``model``: itself, or the version folder of the highest number.

    Raises:
        InputError: There is none.
    """
    if (model / "saved_model.pb").exists():
        return model
    versions = [p for p in model.iterdir() if p.name.isdigit() and p.is_dir()] if model.is_dir() else []
    if not versions:
        raise InputError(f"--model {model} holds no SavedModel and no version folders; run the pipeline first.")
    return max(versions, key=lambda path: int(path.name))


def score(
    settings: Settings, model: Path, plays: list[str], out: Path, start_ms: int, end_ms: int, history: History = "play"
) -> int:
    """Scores the plays in [start_ms, end_ms) and writes them to one Parquet file.

    Args:
        settings: Says how the log's columns are called and where the side tables are.
        model: A SavedModel or a folder of versions.
        plays: Paths or globs of play logs. Plays before ``start_ms`` are history.
        out: The file to write.
        start_ms: First time scored.
        end_ms: End, exclusive.
        history: The protocol, see :class:`Scoring`.

    Returns:
        The number of plays scored.

    Raises:
        InputError: The logs cannot be used, or hold no play to score.
    """
    import pyarrow.parquet as pq

    if not start_ms < end_ms:
        raise InputError(f"--from must lie before --to. Received: {start_ms} and {end_ms}.")
    data = settings.components.data
    parts = settings.components.model_copy(
        update={"data": data.model_copy(update={"plays": data.plays.model_copy(update={"files": plays})})}
    )
    segment = Segment("score", start_ms, end_ms)
    scoring = Scoring(parts, str(newest_version(model)), segment, history)
    first_ms = min(data.window_ms[0], start_ms)
    out.parent.mkdir(parents=True, exist_ok=True)
    with beam.Pipeline(options=PipelineOptions(["--beam_plugins=components", *settings.beam_args])) as pipeline:
        read = pipeline | "Read" >> UserPlays(parts, (first_ms, end_ms), None)
        tables = read.keyed | "Score" >> beam.ParDo(_Score(scoring))
        _ = tables | "Write" >> beam.io.parquetio.WriteToParquetBatched(
            str(out), SCORES, num_shards=1, shard_name_template=""
        )
    rows: int = pq.read_metadata(out).num_rows
    if not rows:
        raise InputError(f"No play lies in the time to score; the plays read are {plays}.")
    return rows
