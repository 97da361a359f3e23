"""``RankingTrainer``: TFX's Trainer with one more input, the quantiles that travel into the model."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor as trainer_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import json_utils

from components.artifacts import WatchTimeQuantiles

QUANTILES = "quantiles"


class RankingTrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec and the quantiles."""

    INPUTS = {**standard_component_specs.TrainerSpec.INPUTS, QUANTILES: ChannelParameter(type=WatchTimeQuantiles)}


class RankingTrainerExecutor(trainer_executor.GenericExecutor):
    """TFX's generic executor; the quantiles' folder reaches ``run_fn`` as ``custom_config["quantiles"]``."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Runs ``run_fn``; see TFX's GenericExecutor."""
        inputs = dict(input_dict)
        folder = artifact_utils.get_single_uri(inputs.pop(QUANTILES))
        config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]) or {}
        properties = {
            **exec_properties,
            standard_component_specs.CUSTOM_CONFIG_KEY: json_utils.dumps({**config, QUANTILES: folder}),
        }
        super().Do(inputs, output_dict, properties)


class RankingTrainer(base_component.BaseComponent):
    """Trains and exports the ranking model.

    Args:
        run_fn: Import path of the training function.
        run: JSON of ``model.settings.ModelRun``, handed to it as ``custom_config["run"]``.
        examples: The transformed examples.
        transform_graph: The vocabularies.
        schema: Schema of the raw examples.
        quantiles: The watch-time quantiles.
    """

    SPEC_CLASS = RankingTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RankingTrainerExecutor)

    def __init__(self, run_fn: str, run: str, examples: Any, transform_graph: Any, schema: Any, quantiles: Any):
        super().__init__(
            RankingTrainerSpec(
                run_fn=run_fn,
                custom_config=json_utils.dumps({"run": run}),
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                quantiles=quantiles,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
