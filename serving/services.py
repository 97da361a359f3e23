"""The gRPC services: they look up the model, call :mod:`serving.inference`, and turn errors into gRPC statuses."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from serving import inference
from serving.errors import StatusError, invalid_argument, truncated
from serving.model_manager import ModelManager
from serving.versions import ModelConfig, VersionPolicy

logger = logging.getLogger(__name__)

#: The only piece of metadata that TF Serving knows.
SIGNATURE_DEF = "signature_def"

_Method = Callable[[Any, Any, Any], Any]


def _answering(method: _Method) -> _Method:
    """Turns a StatusError into the call's status; anything else is an INTERNAL error, logged with its trace."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except StatusError as error:
            code, message = error.code, error.message
        except Exception as error:
            logger.exception("%s failed", method.__name__)
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, truncated(message))

    return answer


class PredictionServicer:
    """``tensorflow.serving.PredictionService``.

    Args:
        manager: Where the models are.
    """

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_answering
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs any signature on named tensors."""
        return self._infer(inference.predict, request, _model_spec(request), context)

    @_answering
    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs a classification signature on tf.Examples."""
        return self._infer(inference.classify, request, _model_spec(request), context)

    @_answering
    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs a regression signature on tf.Examples."""
        return self._infer(inference.regress, request, _model_spec(request), context)

    @_answering
    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs several classification and regression signatures on the same tf.Examples."""
        # TF Serving looks the model up by the first task's spec; without tasks the name is missing.
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        return self._infer(inference.multi_inference, request, spec, context)

    @_answering
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a model."""
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        model = self._manager.acquire(spec)
        try:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            inference.fill_model_spec(response.model_spec, model.name, model.version)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in model.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            response.metadata[SIGNATURE_DEF].Pack(signatures)
            return response
        finally:
            model.release()

    def _infer(self, run: Callable[..., Any], request: Any, spec: Any, context: grpc.ServicerContext) -> Any:
        model = self._manager.acquire(spec)
        try:
            return run(model, request, context.time_remaining())
        finally:
            model.release()


class ModelServicer:
    """``tensorflow.serving.ModelService``.

    Args:
        manager: Where the models are.
    """

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_answering
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Where each version of a model stands."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self._manager.statuses(_model_spec(request)):
            added = response.model_version_status.add(version=version, state=int(status.state))
            added.status.error_code = status.error_code.value[0]
            added.status.error_message = status.error_message
        return response

    @_answering
    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Replaces the list of served models, their version policies and labels."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        listed = request.config.model_config_list.config
        names = [config.name for config in listed]
        for config in listed:
            if names.count(config.name) > 1:
                raise invalid_argument(f"Illegal to list model {config.name} multiple times in config list")
            if config.model_platform not in ("", "tensorflow"):
                raise invalid_argument(f"Model {config.name} requests unsupported platform {config.model_platform}")
        self._manager.reload(
            [ModelConfig(c.name, Path(c.base_path), VersionPolicy.from_proto(c.model_version_policy)) for c in listed],
            {c.name: dict(c.version_labels) for c in listed},
        )
        return model_management_pb2.ReloadConfigResponse()


def _model_spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec
