"""Settings of the network and of its training. Composed into the one settings model by ``pipeline.settings``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from components.features import FLAGS, Flag
from components.settings import Strict

Units = Annotated[list[PositiveInt], Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]

#: What each preset sets; a field written in the configuration wins over its preset.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "item_embedding": "video",
        "context_video": ["category"],
        "gate_identity": False,
        "context_ids": False,
        "context_duration": False,
        "context_thresholds": False,
        "context_time": False,
        "history_statistics": False,
        "token_watch": False,
        "token_gap": False,
    },
    "default": {},
}


class VocabularyCounts(Strict):
    """How many plays in the training window an id needs for an embedding of its own; rarer ids share one."""

    user_id: PositiveInt = 2
    video_id: PositiveInt = 2
    other: PositiveInt = 2
    """Authors, categories, platforms, profile columns and further video columns."""


class Model(Strict):
    """The network (paper, section 2). Letters are those of the notation table."""

    preset: Literal["default", "paper"] = "default"
    """``paper`` is section 2 to the letter; ``default`` adds what the same inputs give for free."""
    vocabulary_counts: VocabularyCounts = VocabularyCounts()

    # 2.1 Feedback-aware sequential encoder
    encoder: Literal["attention", "none"] = "attention"
    """``none`` removes everything that comes from the history: the paper's baseline."""
    attention: Literal["causal", "full"] = "causal"
    """``full`` is the paper's form; it needs ``sequences.targets_per_example: 1``."""
    embedding_dim: PositiveInt = 16
    """d: width of the item, user and platform embeddings."""
    encoder_blocks: PositiveInt = 1
    ffn_units: PositiveInt = 64
    """Width of the hidden layer of each block's FFN."""
    encoder_flags: list[Flag] = list(FLAGS)
    """Feedback channels the history's plays carry; a channel left out is zero."""
    item_embedding: Literal["video", "video_columns"] = "video_columns"
    """``video``: the video id alone. ``video_columns``: plus the embeddings of author, category and further columns."""
    token_watch: bool = True
    """Log watch time and watched share on the history's plays."""
    token_gap: bool = True
    """Log time between a history play and the one before it."""

    # 2.2 Context feature embedding layer
    feature_dim: PositiveInt = 8
    """Width of one context feature in E_in; D is this times the number of context features."""
    slots: PositiveInt | None = None
    """S: groups of dimensions that share an importance weight; null means one per context feature."""
    context_video: list[str] | None = None
    """Video columns in E_in; null means all."""
    gate_identity: bool = True
    """The gate of eq. 6 starts at 1 instead of 0, so that every feature passes before training."""
    context_ids: bool = True
    """The user, video and platform embeddings in E_in too, beside their part in the gate."""
    context_duration: bool = True
    """The target's log duration in E_in."""
    context_thresholds: bool = True
    """The target's log Q50 and log Q60 in E_in and, where there is a history, their distance to the user's mean."""
    context_time: bool = True
    """Hour of day and, where there is a history, time since the last play in E_in."""
    history_statistics: bool = True
    """Smoothed running flag rates and watch times of the history in E_in."""

    # 2.3 Multi-feedback prediction layer
    experts: PositiveInt = 4
    """M: shared expert networks."""
    expert_units: Units = [64, 32]
    tower_units: Units = [16]
    dropout: Rate = 0.1

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**PRESETS.get(str(values.get("preset", "default")), {}), **values}


class Optimizers(Strict):
    """Steps of the two optimizers."""

    embedding_rate: PositiveFloat = 0.05
    """Adagrad's learning rate, for embedding tables; an update touches only the rows of the batch."""
    dense_rate: PositiveFloat = 0.002
    """AdamW's peak learning rate, for everything else; decays to zero along a cosine."""
    weight_decay: NonNegativeFloat = 0.01
    clip_norm: PositiveFloat = 1.0
    """Largest norm of the dense weights' gradient."""


class Training(Strict):
    """Joint training (paper, section 2.4)."""

    epochs: PositiveInt = 5
    plays_per_batch: PositiveInt = 4096
    """Plays (padding included) in one batch; examples of similar length are batched together."""
    loss: Literal["logloss", "bpr"] = "logloss"
    task_weights: Literal["fixed", "adaptive"] = "fixed"
    """λ: ``fixed`` keeps ``weights``; ``adaptive`` raises the weight of tasks whose loss falls more slowly."""
    weights: dict[Flag, PositiveFloat] = {"evv": 1.0, "fvv": 1.0, "gvv": 1.0}
    """Relative λ of the tasks (normalised to Σλ = 1); with ``adaptive`` the factor before adapting."""
    negatives: Literal["exposed", "random", "both"] = "exposed"
    """Impressions without the flag, randomly drawn unobserved videos (the paper's), or both."""
    random_negatives: PositiveInt = 2
    """Videos drawn per positive; read unless ``negatives`` is ``exposed``."""
    optimizers: Optimizers = Optimizers()
    seed: NonNegativeInt = 7

    @model_validator(mode="after")
    def _all_tasks(self) -> Training:
        if set(self.weights) != set(FLAGS):
            raise ValueError(f"training.weights needs one value for each of {FLAGS}. Received: {dict(self.weights)}.")
        return self


class FusionWeights(Strict):
    """γ of the fusion score (paper, section 2.4.2)."""

    evv: float = 1.0
    fvv: float = 1.0
    gvv: Annotated[float, Field(le=0)] = -1.0
    """Weight of the negative feedback; never positive."""

    def as_list(self) -> list[float]:
        """The weights in the order of FLAGS."""
        return [getattr(self, flag) for flag in FLAGS]


class Serving(Strict):
    """What the exported signatures fix."""

    list_length: PositiveInt = 100
    """L: the longest ranked list; shorter where there are fewer candidates."""
    fusion_weights: FusionWeights = FusionWeights()


class ModelRun(Strict):
    """What preprocessing and training are given (as JSON) for one run."""

    model: Model = Model()
    training: Training = Training()
    serving: Serving = Serving()
    profile_columns: list[str] = []
    video_columns: list[str] = []
    """The data's feature set, all video columns included."""
    history_length: PositiveInt = 50
    targets_per_example: PositiveInt = 50
    utc_offset_ms: int = 0
    """Offset of the log's time zone, for the hour of day."""

    @model_validator(mode="after")
    def _fits(self) -> ModelRun:
        if self.model.attention == "full" and self.targets_per_example != 1:
            raise ValueError(
                "model.attention 'full' needs sequences.targets_per_example 1, or a target would see the others. "
                f"Received: {self.targets_per_example}."
            )
        for column in self.model.context_video or []:
            if column not in self.video_columns:
                raise ValueError(f"model.context_video names {column!r}; the data has {self.video_columns}.")
        chosen = self.video_columns if self.model.context_video is None else self.model.context_video
        if not (chosen or self.profile_columns or self.model.context_ids):
            raise ValueError("E_in is empty: give model.context_video a column, or declare a profile column.")
        return self

    @property
    def max_prefix(self) -> int:
        """The most plays that stand before a target in its window."""
        return self.history_length + self.targets_per_example - 1
