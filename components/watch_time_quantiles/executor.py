"""Runs the statistics of watch times."""

from __future__ import annotations

import os
from typing import Any

from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.play_log.check import check_inputs
from components.play_log.columns import PlayColumns
from components.play_log.counts import Counts
from components.play_log.errors import InputError, raise_plainly
from components.play_log.transforms import ReadPlays, WriteCounts, read_counts
from components.settings import Components
from components.watch_time_quantiles.transforms import WriteQuantileTable

COUNTS_FILE = "counts.json"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the plays of the statistics window [train_from, evaluate_from) and writes their quantiles."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the artifact ``quantiles``.

        Raises:
            InputError: Files or columns that lack, too many bad rows, or no plays in the statistics window.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = Components.model_validate_json(exec_properties["settings"])
        artifact = artifact_utils.get_single_instance(output_dict["quantiles"])
        check_inputs(settings.data, self._beam_pipeline_args or ())
        try:
            with self._make_beam_pipeline() as pipeline:
                build(pipeline, settings, artifact.uri)
        except Exception as error:
            raise_plainly(error)
        counts = read_counts(os.path.join(artifact.uri, COUNTS_FILE))
        check(counts, settings)
        artifact.set_string_custom_property("counts", counts.to_json())


def build(pipeline: Any, settings: Components, directory: str) -> None:
    """Adds the steps that write the table and the counts into ``directory``."""
    start, end, _ = settings.data.window_ms
    plays = pipeline | "ReadPlays" >> ReadPlays(
        settings.data, PlayColumns.for_quantiles(), (start, end), settings.num_buckets, key="user_id"
    )
    _ = plays.keyed | "Quantiles" >> WriteQuantileTable(settings.quantiles, settings.num_buckets, directory)
    _ = plays.counts | "Counts" >> WriteCounts(os.path.join(directory, COUNTS_FILE))


def check(counts: Counts, settings: Components) -> None:
    """Refuses a log without plays to take statistics of."""
    counts.check_log(settings.data)
    if not counts.plays:
        window = settings.data.window
        raise InputError(
            f"No plays in the statistics window from {window.train_from} to {window.evaluate_from} (exclusive). "
            f"{counts.where_the_rows_are(settings.data)} Correct data.window or data.feeds."
        )
