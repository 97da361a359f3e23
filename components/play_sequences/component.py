"""The TFX component PlaySequences."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import artifacts
from components.play_sequences import executor


class PlaySequencesSpec(component_spec.ComponentSpec):
    """What goes in and comes out."""

    PARAMETERS = {"settings": component_spec.ExecutionParameter(type=str)}
    INPUTS = {"quantiles": component_spec.ChannelParameter(type=artifacts.WatchTimeQuantiles)}
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=artifacts.Quarantine),
    }


class PlaySequences(base_beam_component.BaseBeamComponent):
    """Labelled sequences of plays as tf.Examples, in the splits ``train`` and ``eval``, and the rows left aside.

    Args:
        settings: JSON of ``components.settings.Components``, the settings of the data side.
        quantiles: Output ``quantiles`` of WatchTimeQuantiles.

    Outputs:
        examples: ``standard_artifacts.Examples``.
        quarantine: ``components.artifacts.Quarantine``.
    """

    SPEC_CLASS = PlaySequencesSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, settings: str, quantiles: types.BaseChannel) -> None:
        super().__init__(
            PlaySequencesSpec(
                settings=settings,
                quantiles=quantiles,
                examples=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=artifacts.Quarantine),
            )
        )
