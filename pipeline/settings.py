"""The one settings model: what a configuration file may say, and how it is loaded."""

from __future__ import annotations

import datetime
import difflib
import zoneinfo
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import Field, model_validator

from components.features import FLAGS, Flag
from components.settings import Components, Data, Quantiles, Sequences, Strict
from model.settings import Model, ModelRun, Serving, Training
from simulation.settings import Simulation


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field and the value received."""


class Evaluation(Strict):
    """What a model must reach to be pushed."""

    min_auc: Annotated[dict[Flag, Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] = dict.fromkeys(FLAGS, 0.5)
    """AUC that the candidate must exceed on the evaluation window, task by task; a task left out has no floor.

    One floor is needed at least, as the Evaluator blesses nothing where it has nothing to check."""


class Settings(Strict):
    """Everything that one deployment says."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")] = "skiprank"
    """Name of the pipeline and of the served model."""
    output: str = "runs"
    """Folder that a run writes into: artifacts, metadata, pushed models, report."""
    data: Data
    simulation: Simulation | None = None
    """Simulated users who write the play logs into ``data.root`` when it does not hold theirs yet."""
    quantiles: Quantiles = Quantiles()
    sequences: Sequences = Sequences()
    num_buckets: Annotated[int, Field(gt=0)] = 16
    """Buckets of users, and of videos, that plays are grouped into; a worker holds one bucket at a time."""
    model: Model = Model()
    training: Training = Training()
    serving: Serving = Serving()
    evaluation: Evaluation = Evaluation()
    beam_args: list[str] = []
    """Beam's own options, such as ``--runner=FlinkRunner`` or ``--direct_num_workers=2``."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Settings:
        if self.model.vocabulary_counts.video_id > self.quantiles.min_plays:
            raise ValueError(
                "model.vocabulary_counts.video_id must not exceed quantiles.min_plays, or a video with quantiles has "
                f"no id. Received: {self.model.vocabulary_counts.video_id} > {self.quantiles.min_plays}."
            )
        _ = self.model_run  # raises where the model does not fit the data or the sequences
        return self

    @property
    def pushed(self) -> Path:
        """Where the pushed model's version folders lie."""
        return Path(self.output).absolute() / "serving" / self.name

    @property
    def components(self) -> Components:
        """What the data components are given."""
        return Components(
            data=self.data, quantiles=self.quantiles, sequences=self.sequences, num_buckets=self.num_buckets
        )

    @property
    def model_run(self) -> ModelRun:
        """What preprocessing and training are given."""
        at = datetime.datetime.fromtimestamp(self.data.window_ms[1] / 1000, zoneinfo.ZoneInfo(self.data.time_zone))
        offset = at.utcoffset() or datetime.timedelta()
        return ModelRun(
            model=self.model,
            training=self.training,
            serving=self.serving,
            profile_columns=list(self.data.features.profile_columns),
            video_columns=list(self.data.features.video_columns),
            history_length=self.sequences.history_length,
            targets_per_example=self.sequences.targets,
            utc_offset_ms=int(offset.total_seconds() * 1000),
        )


def load(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads a configuration file and applies dotted overrides such as ``model.encoder=none``.

    Raises:
        ConfigError: If the file is missing or is no YAML mapping, or if a field is unknown or has a bad value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, not {type(values).__name__}")
    for override in overrides:
        _override(values, override)
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes FIELD=VALUE, such as model.encoder=none. Received: {override!r}")
    *parents, last = name.strip().split(".")
    place: Any = values
    for i, parent in enumerate(parents):
        place = place.setdefault(parent, {})
        if place is None or not isinstance(place, dict):
            raise ConfigError(f"--set {name}: {'.'.join(parents[: i + 1])} holds {place!r}, not further fields")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {name}: {text!r} is not a YAML value") from error


def describe(error: pydantic.ValidationError) -> str:
    """Every problem of a validation error on one line: the field, what is wrong, and the value received."""
    problems = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(problem["loc"][-1]), _siblings(problem["loc"]), n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            problems.append(f"unknown field {field}{hint}")
        elif problem["type"] == "value_error" or problem["type"] == "missing":
            problems.append(f"{field}: {message}" if field else message)
        else:
            problems.append(f"{field}: {message}. Received: {problem['input']!r}")
    return "; ".join(problems)


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """The field names that exist where ``location`` names an unknown one."""
    model: Any = Settings
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, pydantic.BaseModel)), None)
    return list(getattr(model, "model_fields", {}))
