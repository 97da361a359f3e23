"""The embedded server's answers, row by row as TF Serving gives them, over a real socket."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving.tensors import from_proto

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def predict_message(signature="", model="half", version=None, label=None, output_filter=(), **inputs):
    message = predict_pb2.PredictRequest(output_filter=output_filter)
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for name, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        message.inputs[name].CopyFrom(proto)
    return message


@pytest.fixture
def refused(stubs):
    """Sends a PredictRequest and returns the status code and message it is refused with."""

    def send(message, method=None, **options):
        with pytest.raises(grpc.RpcError) as caught:
            (method or stubs.prediction.Predict)(message, **options)
        return caught.value.code(), caught.value.details()

    return send


FLOATS = np.array([1.0, 2.0], np.float32)


# --- what works -------------------------------------------------------------------------------------------------------


def test_predict_echoes_the_model_spec_and_answers_in_value_fields(stubs):
    response = stubs.prediction.Predict(predict_message(x=FLOATS))
    assert list(response.outputs["y"].float_val) == [2.5, 3.0]
    assert not response.outputs["y"].tensor_content
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("half", "serving_default", 123)


def test_output_filter_and_labels(stubs):
    response = stubs.prediction.Predict(predict_message("sum", output_filter=["total"], left=FLOATS, right=FLOATS))
    assert set(response.outputs) == {"total"}
    unfiltered = stubs.prediction.Predict(predict_message("sum", left=FLOATS, right=FLOATS))
    assert set(unfiltered.outputs) == {"total", "left_again"}


def test_any_signature_can_be_predicted(stubs):
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    response = stubs.prediction.Predict(predict_message("regress", inputs=[example.SerializeToString()]))
    assert list(response.outputs["outputs"].float_val) == [2.5]


def test_string_tensors_sent_as_content(stubs):
    message = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, tensor_content=b"\x00\x00")
    message.tensor_shape.dim.add(size=2)
    response = stubs.prediction.Predict(predict_message("echo_or_fail", code=message))
    assert list(response.outputs["code"].string_val) == [b"", b""]


# --- the model spec ---------------------------------------------------------------------------------------------------


def test_no_model_spec(refused):
    assert refused(predict_pb2.PredictRequest()) == (INVALID, "Missing ModelSpec")


def test_empty_model_name(refused):
    assert refused(predict_message(model="", x=FLOATS)) == (INVALID, "ModelSpec has no name specified.")


@pytest.mark.parametrize(
    ("spec", "asked"),
    [({"model": "nobody"}, "Latest(nobody)"), ({"version": 7}, "Specific(half, 7)")],
)
def test_unknown_model_or_version(refused, spec, asked):
    expected = (grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
    assert refused(predict_message(x=FLOATS, **spec)) == expected


def test_unknown_label(refused):
    expected = (INVALID, "Unrecognized servable version label: beta")
    assert refused(predict_message(label="beta", x=FLOATS)) == expected


def test_unknown_signature(refused):
    expected = (grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "x" not found.')
    assert refused(predict_message("x", x=FLOATS)) == expected


# --- the tensors ------------------------------------------------------------------------------------------------------


def test_extra_input(refused):
    assert refused(predict_message(x=FLOATS, z=FLOATS)) == (
        INVALID,
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
    )


def test_missing_input(refused):
    assert refused(predict_message("sum", left=FLOATS)) == (
        INVALID,
        "input size does not match signature: 1!=2 len({left}) != len({left,right}). Sent extra: {}. "
        "Missing but required: {right}.",
    )


def test_input_of_another_name(refused):
    code, message = refused(predict_message("sum", left=FLOATS, wrong=FLOATS))
    assert code is INVALID
    assert message.startswith("Signature input alias: right(feed name: right:0) not found in request")


@pytest.mark.parametrize(
    "malformed",
    [
        tensor_pb2.TensorProto(),
        tensor_pb2.TensorProto(dtype=1, tensor_content=b"abc", tensor_shape=tf.TensorShape([1]).as_proto()),
        tensor_pb2.TensorProto(dtype=1, float_val=[1.0], tensor_shape=tf.TensorShape([None]).as_proto()),
        tensor_pb2.TensorProto(dtype=7, tensor_content=b"\x05ab", tensor_shape=tf.TensorShape([1]).as_proto()),
    ],
    ids=["no dtype", "content of 3 bytes", "unknown length", "string shorter than it says"],
)
def test_malformed_tensor(refused, malformed):
    assert refused(predict_message(x=malformed)) == (INVALID, "tensor parsing error: x")


@pytest.mark.parametrize(
    ("value", "given"),
    [(FLOATS.astype(np.float64), "double"), (np.array([1, 2]), "int64"), (np.array([b"1"], object), "string")],
)
def test_wrong_dtype(refused, value, given):
    """The Python session would cast the first two silently. Arguments count in the order of the tensors' names."""
    expected = (INVALID, f"Expects arg[1] to be float but {given} is provided")
    assert refused(predict_message("sum", left=FLOATS, right=value)) == expected


def test_wrong_shape(refused):
    code, message = refused(predict_message("sum", left=FLOATS, right=np.zeros(3, np.float32)))
    assert code is INVALID
    assert message.startswith("Incompatible shapes: [2] vs. [3]")


def test_unknown_output_in_the_filter(refused):
    assert refused(predict_message(x=FLOATS, output_filter=["z"])) == (
        INVALID,
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    )


def test_repeated_output_in_the_filter(refused):
    expected = (INVALID, "duplicate output tensor alias: y")
    assert refused(predict_message(x=FLOATS, output_filter=["y", "y"])) == expected


def test_long_messages_are_cut(refused):
    code, message = refused(predict_message("echo_or_fail", code=np.array([b"x" * 3000], object)))
    assert code is INVALID
    assert message.startswith("assertion failed")
    assert message.endswith("...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


def test_the_clients_deadline_bounds_the_run(refused, stubs):
    endless = predict_message("slow", steps=np.int64(10**15))
    assert refused(endless, timeout=0.3)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    # The run itself was cancelled: were it still going, its thread would be lost, and eight of them the whole server.
    for _ in range(8):
        refused(endless, timeout=0.05)
    assert stubs.prediction.Predict(predict_message("slow", steps=np.int64(3))).outputs["counted"].int64_val == [3]


# --- metadata, status, configuration, health --------------------------------------------------------------------------


def test_metadata(stubs):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    response = stubs.prediction.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 123)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert found.signature_def["sum"].inputs["left"].dtype == tf.float32.as_datatype_enum
    assert found.signature_def["classify"].method_name == "tensorflow/serving/classify"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["size"], "Metadata field size is not supported"),
    ],
)
def test_metadata_without_a_known_field(refused, stubs, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "half"
    assert refused(request, stubs.prediction.GetModelMetadata) == (INVALID, message)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert refused(request, stubs.prediction.GetModelMetadata) == (INVALID, "Missing ModelSpec")


def test_model_status(stubs):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "skiprank"
    statuses = stubs.model.GetModelStatus(request).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(s.version, s.state, s.status.error_code) for s in statuses] == [(2, available, 0), (1, available, 0)]
    request.model_spec.version_label = "stable"
    assert [s.version for s in stubs.model.GetModelStatus(request).model_version_status] == [1]


def test_model_status_of_the_unknown(refused, stubs):
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refused(request, stubs.model.GetModelStatus) == (INVALID, "Missing ModelSpec")
    request.model_spec.name = "nobody"
    expected = (grpc.StatusCode.NOT_FOUND, "Could not find any versions of model nobody")
    assert refused(request, stubs.model.GetModelStatus) == expected
    request.model_spec.name = "half"
    request.model_spec.version.value = 7
    expected = (grpc.StatusCode.NOT_FOUND, "Could not find version 7 of model half")
    assert refused(request, stubs.model.GetModelStatus) == expected


def test_reload_of_something_else_than_a_list(refused, stubs):
    code, message = refused(model_management_pb2.ReloadConfigRequest(), stubs.model.HandleReloadConfigRequest)
    assert code is INVALID
    assert message.startswith("ServerModelConfig type not supported by HandleReloadConfigRequest.")


@pytest.mark.parametrize("service", ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"])
def test_health(stubs, service):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    response = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_large_messages_pass(stubs):
    many = np.zeros(3_000_000, np.float32)
    channel = grpc.insecure_channel(
        stubs.target, [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    )
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(predict_message(x=many))
    assert from_proto(response.outputs["y"]).shape == many.shape
