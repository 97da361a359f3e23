"""The TFX component WatchTimeQuantiles."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec

from components import artifacts
from components.watch_time_quantiles import executor


class WatchTimeQuantilesSpec(component_spec.ComponentSpec):
    """What goes in and comes out."""

    PARAMETERS = {"settings": component_spec.ExecutionParameter(type=str)}
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {"quantiles": component_spec.ChannelParameter(type=artifacts.WatchTimeQuantiles)}


class WatchTimeQuantiles(base_beam_component.BaseBeamComponent):
    """Q50 and Q60 of the watch times, per video and duration bucket, over the statistics window.

    Args:
        settings: JSON of ``components.settings.Components``, the settings of the data side.

    Outputs:
        quantiles: ``components.artifacts.WatchTimeQuantiles``.
    """

    SPEC_CLASS = WatchTimeQuantilesSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, settings: str) -> None:
        super().__init__(
            WatchTimeQuantilesSpec(settings=settings, quantiles=types.Channel(type=artifacts.WatchTimeQuantiles))
        )
