"""The whole system on one page: from play logs to a pushed model.

    play logs ─► WatchTimeQuantiles ─► PlaySequences ─► StatisticsGen ─► SchemaGen ─► ExampleValidator
                        │                    │  └─► quarantine
                        │                    └────► Transform ─► RankingTrainer ─► Evaluator ─► Pusher ─► TF Serving
                        └────────────────────────────────────────────┘

The same function serves every engine. It holds no TFX Resolver and no file-based ExampleGen, which open-source Kubeflow
Pipelines does not run.
"""

from __future__ import annotations

from pathlib import Path

from tfx import v1 as tfx

from components.evaluation.config import eval_config
from components.play_sequences.component import PlaySequences
from components.trainer.component import RankingTrainer
from components.watch_time_quantiles.component import WatchTimeQuantiles
from pipeline.settings import Settings


def create_pipeline(settings: Settings) -> tfx.dsl.Pipeline:
    """The TFX pipeline of one configuration."""
    data = settings.components.model_dump_json()
    run = settings.model_run.model_dump_json()
    output = Path(settings.output).absolute()

    quantiles = WatchTimeQuantiles(settings=data)
    sequences = PlaySequences(settings=data, quantiles=quantiles.outputs["quantiles"])
    examples = sequences.outputs["examples"]

    statistics = tfx.components.StatisticsGen(examples=examples)
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"])
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )

    transform = tfx.components.Transform(
        examples=examples,
        schema=schema.outputs["schema"],
        preprocessing_fn="model.preprocessing.preprocessing_fn",
        custom_config={"run": run},
    )
    trainer = RankingTrainer(
        run_fn="model.trainer.run_fn",
        run=run,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        quantiles=quantiles.outputs["quantiles"],
    )

    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        schema=schema.outputs["schema"],
        eval_config=eval_config(settings.evaluation.min_auc),
        module_path="components.evaluation.unroll",
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(settings.pushed))
        ),
    )

    return tfx.dsl.Pipeline(
        pipeline_name=settings.name,
        pipeline_root=str(output / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(output / "metadata.sqlite")
        ),
        components=[quantiles, sequences, statistics, schema, validator, transform, trainer, evaluator, pusher],
        beam_pipeline_args=["--beam_plugins=components", *settings.beam_args],
    )
