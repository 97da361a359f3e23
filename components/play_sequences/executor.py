"""Runs the making of play sequences."""

from __future__ import annotations

import os
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.play_log.check import check_inputs
from components.play_log.counts import Counts
from components.play_log.errors import InputError, raise_plainly
from components.play_log.parse import BAD_ROWS
from components.play_log.transforms import WriteCounts, read_counts
from components.play_sequences.transforms import UserPlays, WriteExamples
from components.play_sequences.windows import Segment
from components.settings import Components

TRAIN, EVAL = "train", "eval"
COUNTS_FILE, BAD_ROWS_PREFIX = "counts.json", "bad_rows"


def splits(settings: Components) -> list[Segment]:
    """The splits, by time."""
    start, middle, end = settings.data.window_ms
    return [Segment(TRAIN, start, middle), Segment(EVAL, middle, end)]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the plays of [train_from, evaluate_to), flags them and writes them as examples in two splits."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the artifacts ``examples`` and ``quarantine``.

        Raises:
            InputError: Files or columns that lack, too many bad rows, or a split without plays.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = Components.model_validate_json(exec_properties["settings"])
        quantiles = artifact_utils.get_single_uri(input_dict["quantiles"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        examples.split_names = artifact_utils.encode_split_names([TRAIN, EVAL])
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        examples.set_string_custom_property("file_format", "tfrecords_gzip")
        folders = {split: artifact_utils.get_split_uri([examples], split) for split in (TRAIN, EVAL)}
        check_inputs(settings.data, self._beam_pipeline_args or ())
        try:
            with self._make_beam_pipeline() as pipeline:
                build(pipeline, settings, quantiles, folders, quarantine.uri)
        except Exception as error:
            raise_plainly(error)
        counts = read_counts(os.path.join(quarantine.uri, COUNTS_FILE))
        quarantine.set_string_custom_property("counts", counts.to_json())
        check(counts, settings)


def build(pipeline: Any, settings: Components, quantiles: str, folders: dict[str, str], quarantine: str) -> None:
    """Adds the steps that write the examples of each split into its folder, and bad rows and counts into another."""
    start, _, end = settings.data.window_ms
    plays = pipeline | "UserPlays" >> UserPlays(settings, (start, end), quantiles)
    written = plays.keyed | "Examples" >> WriteExamples(settings, splits(settings), folders)
    _ = (
        plays.bad
        | "BadRows" >> beam.Map(_table_of).with_output_types(pa.Table)
        | "Quarantine"
        >> beam.io.WriteToParquetBatched(
            os.path.join(quarantine, BAD_ROWS_PREFIX), schema=BAD_ROWS, file_name_suffix=".parquet"
        )
    )
    counts = (plays.counts, written) | "AllCounts" >> beam.Flatten()
    _ = counts | "Counts" >> WriteCounts(os.path.join(quarantine, COUNTS_FILE))


def _table_of(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def check(counts: Counts, settings: Components) -> None:
    """Refuses a log that leaves a split without examples, beside what ``Counts.check_log`` refuses."""
    counts.check_log(settings.data)
    window = settings.data.window
    for split, name, start, end in (
        (TRAIN, "training", window.train_from, window.evaluate_from),
        (EVAL, "evaluation", window.evaluate_from, window.evaluate_to),
    ):
        if not counts.targets.get(split):
            raise InputError(
                f"No plays in the {name} window from {start} to {end} (exclusive). "
                f"{counts.where_the_rows_are(settings.data)} Correct data.window or data.feeds."
            )
    if sum(counts.targets.values()) != counts.plays:
        raise AssertionError(f"Plays were lost or repeated between reading and examples: {counts}.")
