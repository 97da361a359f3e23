"""Predict, Classify, Regress and MultiInference on one loaded model, answered as TF Serving answers them.

Each function takes a request message and returns the response message, or raises :class:`StatusError` with TF
Serving's code and wording. Looking up the model is the caller's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.errors import StatusError, invalid_argument
from serving.loaded_model import LoadedModel
from serving.tensors import Array, TensorError, from_proto, to_proto

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

#: Name of the input that takes the serialized tf.Examples [B], and of the outputs, in Classify and Regress signatures.
EXAMPLES_INPUT = "inputs"
CLASSES_OUTPUT = "classes"
SCORES_OUTPUT = "scores"
REGRESSION_OUTPUT = "outputs"


def predict(model: LoadedModel, request: Any, timeout_s: float | None = None) -> Any:
    """Any signature by named tensors: PredictRequest -> PredictResponse."""
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(signature_name)
    if signature is None:
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.')
    if signature.method_name not in (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD):
        raise StatusError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{PREDICT_METHOD}, {CLASSIFY_METHOD}, "
            f"{REGRESS_METHOD}}}. Was: {signature.method_name}",
        )
    feeds = _feeds(signature, request.inputs)
    aliases = _outputs(signature, list(request.output_filter))
    values = model.run(feeds, [signature.outputs[alias].name for alias in aliases], timeout_s)
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, request.model_spec.name, model.version, signature_name)
    for alias, value in zip(aliases, values, strict=True):
        response.outputs[alias].CopyFrom(to_proto(np.asarray(value)))
    return response


def classify(model: LoadedModel, request: Any, timeout_s: float | None = None) -> Any:
    """Classes and scores per tf.Example: ClassificationRequest -> ClassificationResponse."""
    signature = _example_signature(model, request.model_spec, CLASSIFY_METHOD, "classification")
    fetches = _classification_outputs(signature)
    count, values = _run_examples(
        model, request.input, _examples_tensor(signature, "classification"), fetches, timeout_s
    )
    response = classification_pb2.ClassificationResponse()
    fill_model_spec(
        response.model_spec,
        request.model_spec.name,
        model.version,
        request.model_spec.signature_name or DEFAULT_SIGNATURE,
    )
    _fill_classifications(response.result, signature, count, values)
    return response


def regress(model: LoadedModel, request: Any, timeout_s: float | None = None) -> Any:
    """One value per tf.Example: RegressionRequest -> RegressionResponse."""
    signature = _example_signature(model, request.model_spec, REGRESS_METHOD, "regression")
    fetches = _regression_outputs(signature)
    count, values = _run_examples(model, request.input, _examples_tensor(signature, "regression"), fetches, timeout_s)
    response = regression_pb2.RegressionResponse()
    fill_model_spec(
        response.model_spec,
        request.model_spec.name,
        model.version,
        request.model_spec.signature_name or DEFAULT_SIGNATURE,
    )
    _fill_regressions(response.result, signature, count, values)
    return response


def multi_inference(model: LoadedModel, request: Any, timeout_s: float | None = None) -> Any:
    """Several Classify and Regress tasks on the same examples, in one run: MultiInferenceRequest -> …Response."""
    fetches: set[str] = set()
    examples_tensor = ""
    seen: set[str] = set()
    for task in request.tasks:
        signature_name = _check_task(task, request.tasks[0].model_spec.name, seen)
        signature = model.signatures.get(signature_name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {signature_name}")
        if task.method_name == CLASSIFY_METHOD:
            _check_method(signature, CLASSIFY_METHOD, "classification")
            fetches.update(_classification_outputs(signature))
            tensor = _examples_tensor(signature, "classification")
        elif task.method_name == REGRESS_METHOD:
            _check_method(signature, REGRESS_METHOD, "regression")
            fetches.update(_regression_outputs(signature))
            tensor = _examples_tensor(signature, "regression")
        else:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        if examples_tensor not in ("", tensor):
            raise invalid_argument("Input tensor must be the same for all Signatures.")
        examples_tensor = tensor
    count, values = _run_examples(model, request.input, examples_tensor, sorted(fetches), timeout_s)
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signatures[signature_name]
        result = response.results.add()
        if task.method_name == CLASSIFY_METHOD:
            _fill_classifications(result.classification_result, signature, count, values)
        else:
            _fill_regressions(result.regression_result, signature, count, values)
        fill_model_spec(result.model_spec, task.model_spec.name, model.version, signature_name)
    return response


def fill_model_spec(spec: Any, name: str, version: int, signature_name: str = "") -> None:
    """Writes who answered into a response's model_spec."""
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature_name


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _feeds(signature: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Tensor name -> value for every input of the signature, its declared defaults included."""
    sent, expected = set(inputs), set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(expected)}}}). Sent extra: {{{_joined(sent - expected)}}}. "
            f"Missing but required: {{{_joined(expected - sent)}}}."
        )
    feeds = {}
    for alias, info in signature.inputs.items():
        if alias not in sent and alias not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_joined(sent)}}}, or default input alias set: "
                f"{_joined(signature.defaults)}"
            )
        try:
            feeds[info.name] = from_proto(inputs[alias] if alias in sent else signature.defaults[alias])
        except TensorError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    if not sent <= expected:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(sent & expected)}, request input: "
            f"{_joined(sent)}"
        )
    return feeds


def _outputs(signature: Any, output_filter: list[str]) -> list[str]:
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_joined(signature.outputs)}}}."
            )
        if alias in output_filter[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return output_filter or sorted(signature.outputs)


# --- tf.Examples ------------------------------------------------------------------------------------------------------


def _example_signature(model: LoadedModel, spec: Any, method: str, kind: str) -> Any:
    signature_name = spec.signature_name or DEFAULT_SIGNATURE
    if signature_name not in model.signatures:
        raise invalid_argument(f"No signature was found with the name: {signature_name}")
    signature = model.signatures[signature_name]
    _check_method(signature, method, kind)
    return signature


def _check_method(signature: Any, method: str, kind: str) -> None:
    if signature.method_name != method:
        raise invalid_argument(f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}")


def _check_task(task: Any, model_name: str, seen: set[str]) -> str:
    """Checks what the tasks of a MultiInference must share; returns the task's signature name."""
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model_name:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    signature_name: str = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if signature_name in seen:
        raise invalid_argument(f"Duplicate evaluation of signature: {signature_name}")
    seen.add(signature_name)
    return signature_name


def _examples_tensor(signature: Any, kind: str) -> str:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if EXAMPLES_INPUT not in signature.inputs:
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {signature}")
    name: str = signature.inputs[EXAMPLES_INPUT].name
    return name


def _classification_outputs(signature: Any) -> list[str]:
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    names = [signature.outputs[o].name for o in (CLASSES_OUTPUT, SCORES_OUTPUT) if o in signature.outputs]
    if not names:
        raise StatusError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'Expected classification signature outputs to contain at least one of "{CLASSES_OUTPUT}" or '
            f'"{SCORES_OUTPUT}". Signature was: {signature}',
        )
    return names


def _regression_outputs(signature: Any) -> list[str]:
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if REGRESSION_OUTPUT not in signature.outputs:
        raise StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f"No regression outputs found in SignatureDef: {signature}"
        )
    return [signature.outputs[REGRESSION_OUTPUT].name]


def _serialized_examples(message: Any) -> Array:
    """The request's tf.Examples, serialized [B]; a shared context is put before each of them."""
    if message.WhichOneof("kind") == "example_list_with_context":
        listed = message.example_list_with_context
        # Concatenating two serialized messages merges them; that is how TF Serving adds the context.
        prefix = listed.context.SerializeToString()
    else:
        listed, prefix = message.example_list, b""
    examples = np.array([prefix + example.SerializeToString() for example in listed.examples], np.object_)
    if not len(examples):
        raise invalid_argument("Input is empty.")
    return examples


def _run_examples(
    model: LoadedModel, message: Any, tensor: str, fetches: list[str], timeout_s: float | None
) -> tuple[int, dict[str, Array]]:
    examples = _serialized_examples(message)
    values = model.run({tensor: examples}, fetches, timeout_s)
    return len(examples), {name: np.asarray(value) for name, value in zip(fetches, values, strict=True)}


def _checked_matrix(value: Array, count: int, kind: str, dtype: Any, dtype_name: str) -> Array:
    if value.ndim != 2:
        shape = ",".join(map(str, value.shape))
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got [{shape}]")
    if value.dtype != dtype:
        raise invalid_argument(f"Expected {kind} Tensor of {dtype_name}. Got: {value.dtype}")
    if len(value) != count:
        raise invalid_argument(f"Expected {kind} output batch size of {count}. Got: {len(value)}")
    return value


def _fill_classifications(result: Any, signature: Any, count: int, values: Mapping[str, Array]) -> None:
    classes = scores = None
    if CLASSES_OUTPUT in signature.outputs:
        value = values[signature.outputs[CLASSES_OUTPUT].name]
        classes = _checked_matrix(value, count, CLASSES_OUTPUT, np.object_, "DT_STRING")
    if SCORES_OUTPUT in signature.outputs:
        value = values[signature.outputs[SCORES_OUTPUT].name]
        scores = _checked_matrix(value, count, SCORES_OUTPUT, np.float32, "DT_FLOAT")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    shaped = classes if classes is not None else scores
    assert shaped is not None
    for row in range(count):
        classification = result.classifications.add()
        for column in range(shaped.shape[1]):
            added = classification.classes.add()
            if classes is not None:
                added.label = classes[row, column].decode(errors="replace")
            if scores is not None:
                added.score = scores[row, column]


def _fill_regressions(result: Any, signature: Any, count: int, values: Mapping[str, Array]) -> None:
    value = values[signature.outputs[REGRESSION_OUTPUT].name]
    if not (value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)):
        shape = ",".join(map(str, value.shape))
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [{shape}]"
        )
    if len(value) != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {len(value)}")
    if value.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {value.dtype}")
    for number in value.ravel():
        result.regressions.add(value=float(number))
