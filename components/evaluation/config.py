"""The Evaluator's configuration: metrics per task, floors, slices."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow_model_analysis as tfma

from components.features import FLAGS, Flag


def eval_config(min_auc: Mapping[Flag, float]) -> tfma.EvalConfig:
    """AUC, log loss and calibration of every task, overall and by platform.

    Args:
        min_auc: The AUC a model must exceed to be blessed, by task.
    """
    specs = []
    for flag in FLAGS:
        auc = tfma.MetricConfig(class_name="AUC", config='{"num_thresholds": 10000}')
        if flag in min_auc:
            floor = tfma.GenericValueThreshold(lower_bound={"value": min_auc[flag]})
            auc.threshold.CopyFrom(tfma.MetricThreshold(value_threshold=floor))
        metrics = [auc, *(tfma.MetricConfig(class_name=name) for name in ("BinaryCrossEntropy", "Calibration"))]
        specs.append(tfma.MetricsSpec(output_names=[flag], metrics=metrics))
    counts = tfma.MetricsSpec(output_names=[FLAGS[0]], metrics=[tfma.MetricConfig(class_name="ExampleCount")])
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default", model_type="tf_generic", label_keys={flag: flag for flag in FLAGS}
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["platform"])],
        metrics_specs=[*specs, counts],
    )
