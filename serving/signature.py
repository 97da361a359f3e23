"""What a model's ``rank`` signature takes, and requests and answers in its form.

The inputs are never listed here: they are read from the signature itself, as GetModelMetadata or the SavedModel give
it. Input ``history_x`` [B, H] carries the plays' ``x``, ``candidate_x`` [B, N] the candidates', and every input of one
dimension [B] the user's or the request's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.request import Candidate, Play, RankRequest
from serving.response import RankedVideo, RankResponse
from serving.tensors import Array, TensorError, from_proto, to_proto

RANK = "rank"
RANK_WITH_WEIGHTS = "rank_with_weights"
FUSION_WEIGHTS = "fusion_weights"

#: The order of the fusion weights.
TASKS = ("evv", "fvv", "gvv")

Weights = Sequence[float] | Mapping[str, float]


class UnknownColumnError(ValueError):
    """A request has a profile or video column that the model does not take."""


_HISTORY = "history_"
_CANDIDATE = "candidate_"
_PLAY_FIELDS = {field.name for field in dataclasses.fields(Play)} - {"extra"}
_CANDIDATE_FIELDS = {field.name for field in dataclasses.fields(Candidate)} - {"extra"}
_REQUEST_FIELDS = {"user_id", "request_time_ms", "platform"}


@dataclasses.dataclass(frozen=True)
class RankSignature:
    """The inputs of ``rank`` or ``rank_with_weights``.

    Attributes:
        name: The signature's name.
        user: Features of the user or the request -> whether they are numbers [B].
        history: Features of a play -> whether they are numbers [B, H].
        candidate: Features of a candidate -> whether they are numbers [B, N].
        takes_weights: Whether there is an input ``fusion_weights``.
    """

    name: str
    user: Mapping[str, bool]
    history: Mapping[str, bool]
    candidate: Mapping[str, bool]
    takes_weights: bool

    @classmethod
    def of(cls, signature_def: Any, name: str) -> RankSignature:
        """Reads a SignatureDef.

        Raises:
            ValueError: An input is neither int64 nor string, or has a name or shape that no request can fill.
        """
        groups: dict[str, dict[str, bool]] = {"": {}, _HISTORY: {}, _CANDIDATE: {}}
        for alias in sorted(signature_def.inputs):
            if alias == FUSION_WEIGHTS:
                continue
            info = signature_def.inputs[alias]
            rank = len(info.tensor_shape.dim)
            prefix = next((p for p in (_HISTORY, _CANDIDATE) if rank == 2 and alias.startswith(p)), "")
            if info.dtype not in (types_pb2.DT_INT64, types_pb2.DT_STRING) or (not prefix and rank != 1):
                raise ValueError(
                    f"Signature {name!r} is no ranking signature: its input {alias!r} is "
                    f"{types_pb2.DataType.Name(info.dtype)} of rank {rank}."
                )
            groups[prefix][alias.removeprefix(prefix)] = info.dtype == types_pb2.DT_INT64
        return cls(name, groups[""], groups[_HISTORY], groups[_CANDIDATE], FUSION_WEIGHTS in signature_def.inputs)

    @property
    def profile_columns(self) -> tuple[str, ...]:
        """The user columns that ``RankRequest.profile`` may hold."""
        return tuple(name for name in self.user if name not in _REQUEST_FIELDS)

    @property
    def video_columns(self) -> tuple[str, ...]:
        """The video columns that ``Play.extra`` and ``Candidate.extra`` may hold."""
        extra = (self.history.keys() - _PLAY_FIELDS) | (self.candidate.keys() - _CANDIDATE_FIELDS)
        return tuple(sorted(extra))

    def check(self, request: RankRequest) -> None:
        """Refuses columns that the model does not have.

        Raises:
            UnknownColumnError: Names the column and the known ones.
        """
        _check_columns("profile", request.profile, self.profile_columns)
        known = self.video_columns
        for index, play in enumerate(request.history):
            _check_columns(f"history[{index}].extra", play.extra, known)
        for index, candidate in enumerate(request.candidates):
            _check_columns(f"candidates[{index}].extra", candidate.extra, known)


def predict_request(
    requests: Sequence[RankRequest],
    signature: RankSignature,
    *,
    model: str,
    version: int | None = None,
    label: str | None = None,
    weights: Weights | None = None,
) -> Any:
    """One PredictRequest for a batch of B users, padded on the right with '' and 0.

    Args:
        requests: B ranking requests, at least one.
        signature: What the model takes.
        model: The model's name.
        version: Asks for this version.
        label: Asks for the version with this label.
        weights: Fusion weights, for a signature that takes them.

    Raises:
        ValueError: No request, an unknown column, or weights that are no three finite numbers.
    """
    if not requests:
        raise ValueError("`requests` must hold at least one request. Received: none.")
    for request in requests:
        signature.check(request)
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature.name
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label

    def put(alias: str, array: Array) -> None:
        message.inputs[alias].CopyFrom(to_proto(array, packed=True))

    for name, numeric in signature.user.items():
        put(name, _column([_user_value(request, name) for request in requests], numeric))  # [B]
    plays = [request.history for request in requests]
    candidates = [request.candidates for request in requests]
    for name, numeric in signature.history.items():
        put(_HISTORY + name, _matrix(plays, _reader(name, _PLAY_FIELDS), numeric))  # [B, H]
    for name, numeric in signature.candidate.items():
        put(_CANDIDATE + name, _matrix(candidates, _reader(name, _CANDIDATE_FIELDS), numeric))  # [B, N]
    if signature.takes_weights:
        put(FUSION_WEIGHTS, fusion_weights(weights))  # [K]
    return message


def rank_responses(message: Any, count: int) -> list[RankResponse]:
    """Reads a PredictResponse for B users; padded places (video id '') are dropped.

    Raises:
        ValueError: An output is missing or has another shape than [B, L].
    """
    outputs = {}
    for name in ("video_id", "score", *TASKS):
        if name not in message.outputs:
            raise ValueError(f"The answer lacks the output {name!r}; it has {', '.join(sorted(message.outputs))}.")
        try:
            outputs[name] = from_proto(message.outputs[name])  # [B, L]
        except TensorError as error:
            raise ValueError(f"The output {name!r} cannot be read: {error}") from error
        if outputs[name].ndim != 2 or len(outputs[name]) != count:
            raise ValueError(f"The output {name!r} has the shape {outputs[name].shape} for {count} users.")
    spec = message.model_spec
    rows = zip(*(outputs[name].tolist() for name in ("video_id", "score", *TASKS)), strict=True)
    return [RankResponse(_videos(row), spec.name, spec.version.value) for row in rows]


def fusion_weights(weights: Weights | None) -> Array:
    """The weights as float32 [K], in the order evv, fvv, gvv; a mapping may name them.

    Raises:
        ValueError: Not three finite numbers, or a mapping with other keys than evv, fvv, gvv.
    """
    if isinstance(weights, Mapping):
        if set(weights) != set(TASKS):
            raise ValueError(f"`weights` must have the keys {', '.join(TASKS)}. Received: {', '.join(weights)}.")
        weights = [weights[task] for task in TASKS]
    if weights is None or len(weights) != len(TASKS) or not all(math.isfinite(weight) for weight in weights):
        raise ValueError(f"`weights` must be three finite numbers ({', '.join(TASKS)}). Received: {weights!r}.")
    return np.asarray(weights, np.float32)


def _videos(columns: tuple[list[Any], ...]) -> tuple[RankedVideo, ...]:
    real = (values for values in zip(*columns, strict=True) if values[0])
    return tuple(RankedVideo(rank, values[0].decode(), *values[1:]) for rank, values in enumerate(real, start=1))


def _check_columns(place: str, given: Mapping[str, str], known: Iterable[str]) -> None:
    for column in given:
        if column not in known:
            listed = ", ".join(known) or "none"
            raise UnknownColumnError(
                f"`{place}` has a column that the model does not take: {column!r}; it takes: {listed}."
            )


def _user_value(request: RankRequest, name: str) -> Any:
    return getattr(request, name) if name in _REQUEST_FIELDS else request.profile.get(name, "")


def _reader(name: str, fields: set[str]) -> Callable[[Any], Any]:
    if name in fields:
        return lambda item: getattr(item, name)
    return lambda item: item.extra.get(name, "")


def _column(values: list[Any], numeric: bool) -> Array:
    if numeric:
        return np.array(values, np.int64)
    column = np.empty(len(values), np.object_)
    column[:] = [value.encode() for value in values]
    return column


def _matrix(rows: Sequence[Sequence[Any]], read: Callable[[Any], Any], numeric: bool) -> Array:
    """Ragged rows as a rectangle, padded on the right."""
    width = max(len(row) for row in rows)
    padding = [0] if numeric else [""]
    flat: list[Any] = []
    for row in rows:
        flat.extend(read(item) for item in row)
        flat.extend(padding * (width - len(row)))
    return _column(flat, numeric).reshape(len(rows), width)
