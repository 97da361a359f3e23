"""Classify, Regress and MultiInference, as TF Serving answers them."""

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def example(x):
    made = tf.train.Example()
    made.features.feature["x"].float_list.value.append(x)
    return made


def message(of, signature, xs=(0.25, 0.75), model="half"):
    made = of()
    made.model_spec.name = model
    made.model_spec.signature_name = signature
    made.input.example_list.examples.extend(example(x) for x in xs)
    return made


def multi(*tasks, xs=(0.25, 0.75), model="half"):
    made = inference_pb2.MultiInferenceRequest()
    made.input.example_list.examples.extend(example(x) for x in xs)
    for signature, method in tasks:
        task = made.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return made


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    return caught.value.code(), caught.value.details()


def labels(result):
    return [[(c.label, round(c.score, 3)) for c in row.classes] for row in result.classifications]


def test_classify(stubs):
    response = stubs.prediction.Classify(message(classification_pb2.ClassificationRequest, "classify"))
    assert labels(response.result) == [[("small", 0.75), ("large", 0.25)], [("small", 0.25), ("large", 0.75)]]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("half", "classify", 123)


def test_regress(stubs):
    response = stubs.prediction.Regress(message(regression_pb2.RegressionRequest, "regress"))
    assert [r.value for r in response.result.regressions] == [2.125, 2.375]
    assert response.model_spec.signature_name == "regress"


def test_a_shared_context_is_merged_into_each_example(stubs):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "regress"
    request.input.example_list_with_context.context.CopyFrom(example(2.0))
    request.input.example_list_with_context.examples.extend([tf.train.Example(), tf.train.Example()])
    response = stubs.prediction.Regress(request)
    assert [r.value for r in response.result.regressions] == [3.0, 3.0]


def test_no_example(stubs):
    empty = message(classification_pb2.ClassificationRequest, "classify", xs=())
    assert refusal(stubs.prediction.Classify, empty) == (INVALID, "Input is empty.")
    empty = message(regression_pb2.RegressionRequest, "regress", xs=())
    assert refusal(stubs.prediction.Regress, empty) == (INVALID, "Input is empty.")


def test_unknown_signature_and_other_method(stubs):
    request = message(classification_pb2.ClassificationRequest, "x")
    expected = (INVALID, "No signature was found with the name: x")
    assert refusal(stubs.prediction.Classify, request) == expected
    request = message(regression_pb2.RegressionRequest, "classify")
    expected = (INVALID, f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}")
    assert refusal(stubs.prediction.Regress, request) == expected
    # Signatures exported by TF2 all have the method `predict`, so a ranking model cannot be classified with.
    request = message(classification_pb2.ClassificationRequest, "", model="skiprank")
    code, text = refusal(stubs.prediction.Classify, request)
    assert code is INVALID
    assert text.endswith("Was: tensorflow/serving/predict")


def test_model_specs_are_checked(stubs):
    missing = classification_pb2.ClassificationRequest()
    assert refusal(stubs.prediction.Classify, missing) == (INVALID, "Missing ModelSpec")
    unknown = message(regression_pb2.RegressionRequest, "regress", model="nobody")
    assert refusal(stubs.prediction.Regress, unknown)[0] is grpc.StatusCode.NOT_FOUND


def test_an_example_that_does_not_parse_is_the_ops_error(stubs):
    request = message(regression_pb2.RegressionRequest, "regress", xs=())
    request.input.example_list.examples.add()  # no feature x
    code, text = refusal(stubs.prediction.Regress, request)
    assert code is INVALID
    assert "x" in text


def test_multi_inference(stubs):
    response = stubs.prediction.MultiInference(multi(("classify", CLASSIFY), ("regress", REGRESS)))
    first, second = response.results
    assert labels(first.classification_result)[0] == [("small", 0.75), ("large", 0.25)]
    assert [r.value for r in second.regression_result.regressions] == [2.125, 2.375]
    assert (second.model_spec.name, second.model_spec.signature_name) == ("half", "regress")
    assert second.model_spec.version.value == 123


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([("regress", REGRESS), ("regress", REGRESS)], INVALID, "Duplicate evaluation of signature: regress"),
        ([("x", REGRESS)], INVALID, "Requested signature not found in model graph: x"),
        (
            [("regress", "tensorflow/serving/predict")],
            grpc.StatusCode.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("classify", REGRESS)],
            INVALID,
            f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}",
        ),
    ],
)
def test_multi_inference_refusals(stubs, tasks, code, text):
    assert refusal(stubs.prediction.MultiInference, multi(*tasks)) == (code, text)


def test_multi_inference_needs_one_model(stubs):
    request = multi(("classify", CLASSIFY), ("regress", REGRESS))
    request.tasks[1].model_spec.name = "skiprank"
    expected = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
    assert refusal(stubs.prediction.MultiInference, request) == (INVALID, expected)
    expected = "ModelSpec has no name specified."
    assert refusal(stubs.prediction.MultiInference, inference_pb2.MultiInferenceRequest()) == (INVALID, expected)
    empty = multi(("classify", CLASSIFY), xs=())
    assert refusal(stubs.prediction.MultiInference, empty) == (INVALID, "Input is empty.")
