"""TFMA extractors that turn a sequence example with its per-play predictions into one row per target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import slice_key_extractor
from tfx_bsl.coders import example_coder

from components.features import FLAGS

#: Features of the play that slices may use.
SLICE_FEATURES = ("platform",)


def target_rows(examples: pa.RecordBatch, predictions: dict[str, np.ndarray[Any, Any]]) -> Iterator[dict[str, Any]]:
    """One TFMA extract per target play.

    Args:
        examples: The decoded examples; per-play features are lists of the play count P of their example.
        predictions: By task, probabilities [B, P] padded to the longest example.

    Yields:
        ``labels`` and ``predictions`` by task, each of shape [1], and the slice ``features``.
    """
    columns = {name: examples.column(name).to_pylist() for name in ("is_target", *FLAGS, *SLICE_FEATURES)}
    for row, is_target in enumerate(columns["is_target"]):
        for play in np.flatnonzero(is_target):
            yield {
                tfma.LABELS_KEY: {flag: np.array([columns[flag][row][play]], np.float32) for flag in FLAGS},
                tfma.PREDICTIONS_KEY: {flag: predictions[flag][row, play : play + 1] for flag in FLAGS},
                tfma.FEATURES_KEY: {name: np.array([columns[name][row][play]], object) for name in SLICE_FEATURES},
            }


class _UnrollTargets(beam.DoFn):
    def setup(self) -> None:
        self._decoder = example_coder.ExamplesToRecordBatchDecoder()

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        serialized = pa.array([bytes(e) for e in np.ravel(extracts[tfma.INPUT_KEY])], pa.binary())
        yield from target_rows(self._decoder.DecodeBatch(serialized.to_pylist()), extracts[tfma.PREDICTIONS_KEY])


@beam.ptransform_fn
def _Unroll(extracts: Any) -> Any:  # noqa: N802
    return extracts | "UnrollTargets" >> beam.ParDo(_UnrollTargets())


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Called by TFX's Evaluator: the extractors of one evaluation, in order."""
    representations = tensor_adapter_config.tensor_representations if tensor_adapter_config else None
    return [
        tfma.extractors.FeaturesExtractor(eval_config=eval_config, tensor_representations=representations),
        tfma.extractors.PredictionsExtractor(eval_config=eval_config, eval_shared_model=eval_shared_model),
        tfma.extractors.Extractor(stage_name="UnrollTargets", ptransform=_Unroll()),
        slice_key_extractor.SliceKeyExtractor(eval_config=eval_config, materialize=False),
    ]
