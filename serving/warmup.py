"""Warm-up records: written beside a model at export, replayed by the server before the model takes requests.

They lie where TF Serving looks for them, ``assets.extra/tf_serving_warmup_requests``: a TFRecord file of PredictionLog
messages. Without them the first requests after a reload pay for memory allocation and graph optimisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving import inference
from serving.errors import ServingError, StatusError, invalid_argument
from serving.loaded_model import TAG, LoadedModel
from serving.request import RankRequest
from serving.signature import RANK, RANK_WITH_WEIGHTS, RankSignature, predict_request

#: Where the records lie inside a SavedModel.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

#: TF Serving refuses a model with more records.
MAX_RECORDS = 1_000

#: The weights of warm-up requests for ``rank_with_weights``; the values do not matter for warming up.
_WARMUP_WEIGHTS = (1.0, 1.0, -1.0)


def write_warmup(model_dir: str | Path, requests: Iterable[Any], *, model: str = "skiprank") -> Path:
    """Writes the warm-up records of an exported model.

    Args:
        model_dir: The version folder (the one with ``saved_model.pb``).
        requests: RankRequest objects, each of which becomes a record for ``rank`` and one for ``rank_with_weights``
            where the model has it, or ready PredictRequest messages.
        model: The model name in the records; servers do not look at it.

    Returns:
        The file written. An older one is replaced.

    Raises:
        ServingError: The folder holds no SavedModel, or there are more than 1,000 records.
    """
    folder = Path(model_dir)
    signatures = _saved_signatures(folder)
    records: list[Any] = []
    for request in requests:
        records.extend(_predict_requests(request, signatures, model) if isinstance(request, RankRequest) else [request])
    if len(records) > MAX_RECORDS:
        raise ServingError(f"TF Serving takes at most {MAX_RECORDS} warm-up records. Received: {len(records)}.")
    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            if not isinstance(record, predict_pb2.PredictRequest):
                raise TypeError(
                    f"`requests` must hold RankRequest or PredictRequest objects. Received: {type(record).__name__}."
                )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=record))
            writer.write(log.SerializeToString())
    return path


def replay_warmup(model: LoadedModel) -> int:
    """Runs a model's warm-up records, if it has any, and returns how many there were.

    Raises:
        StatusError: A record cannot be read, or its request fails; the model must then not be served.
    """
    path = model.path / WARMUP_FILE
    if not path.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            _replay(model, record, path)
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise StatusError(grpc.StatusCode.DATA_LOSS, message) from error
    return count


def _replay(model: LoadedModel, record: bytes, path: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except Exception as error:
        raise invalid_argument(f"Failed to parse warmup record: {record!r} from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(model, log.predict_log.request)
    elif kind == "classify_log":
        inference.classify(model, log.classify_log.request)
    elif kind == "regress_log":
        inference.regress(model, log.regress_log.request)
    elif kind == "multi_inference_log":
        inference.multi_inference(model, log.multi_inference_log.request)
    elif kind is not None:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _saved_signatures(folder: Path) -> dict[str, Any]:
    """The signatures of a SavedModel, read without loading it."""
    file = folder / "saved_model.pb"
    if not file.is_file():
        raise ServingError(f"{folder} holds no saved_model.pb; give the version folder itself.")
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        if TAG in meta_graph.meta_info_def.tags:
            return dict(meta_graph.signature_def)
    raise ServingError(f"{file} has no graph with the tag {TAG!r}.")


def _predict_requests(request: RankRequest, signatures: dict[str, Any], model: str) -> Sequence[Any]:
    return [
        predict_request(
            [request],
            RankSignature.of(signatures[name], name),
            model=model,
            weights=_WARMUP_WEIGHTS if name == RANK_WITH_WEIGHTS else None,
        )
        for name in (RANK, RANK_WITH_WEIGHTS)
        if name in signatures
    ]
