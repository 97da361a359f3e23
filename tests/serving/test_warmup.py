"""Warm-up records: what is written at export, and what the server does with them."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.client import RankingClient
from serving.errors import ServingError, StatusError
from serving.loaded_model import LoadedModel
from serving.server import serve
from serving.warmup import WARMUP_FILE, replay_warmup, write_warmup


def read_logs(path):
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_a_ranking_request_becomes_a_record_per_signature(model_dir, requests):
    path = write_warmup(model_dir / "1", requests[1:3])
    assert path == model_dir / "1" / "assets.extra" / "tf_serving_warmup_requests"
    logs = read_logs(path)
    signatures = [log.predict_log.request.model_spec.signature_name for log in logs]
    assert signatures == ["rank", "rank_with_weights"] * 2
    assert replay_warmup(LoadedModel("skiprank", 1, model_dir / "1")) == 4
    with serve(model_dir, 0) as running, RankingClient(running.target) as client:
        assert client.rank(requests[2]).version == 1


def test_ready_predict_requests_are_written_as_they_are(model_dir):
    ready = predict_pb2.PredictRequest()
    ready.model_spec.name = "anything"
    ready.inputs["examples"].CopyFrom(tf.make_tensor_proto([b"abc"]))
    assert read_logs(write_warmup(model_dir / "1", [ready]))[0].predict_log.request == ready


def test_refuses_what_it_cannot_write(model_dir, requests):
    with pytest.raises(ServingError, match=r"no saved_model.pb; give the version folder"):
        write_warmup(model_dir, requests)
    with pytest.raises(ServingError, match=r"at most 1000 warm-up records. Received: 1002"):
        write_warmup(model_dir / "1", [requests[1]] * 501)
    with pytest.raises(TypeError, match="RankRequest or PredictRequest"):
        write_warmup(model_dir / "1", ["request"])


def write_logs(model_dir, *logs):
    path = model_dir / "1" / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return path


def test_a_record_that_fails_fails_the_load(model_dir):
    failing = predict_pb2.PredictRequest()
    failing.model_spec.signature_name = "no_such"
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=failing))
    write_logs(model_dir, log)
    with pytest.raises(ServingError, match=r"cannot be served: FAILED_PRECONDITION: Serving signature key .no_such"):
        serve(model_dir, 0, load_retries=0)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT: Failed to parse warmup record"),
        (
            prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog()),
            "UNIMPLEMENTED: Unsupported log_type for warmup: session_run_log",
        ),
    ],
)
def test_records_that_cannot_be_replayed(model_dir, log, message):
    write_logs(model_dir, log)
    with pytest.raises(StatusError, match=message):
        replay_warmup(LoadedModel("skiprank", 1, model_dir / "1"))


def test_a_file_of_another_format(model_dir):
    write_logs(model_dir).write_bytes(b"this is no TFRecord file, and long enough to be read as one")
    with pytest.raises(StatusError, match=r"DATA_LOSS.*verify your warmup data is in TFRecord format"):
        replay_warmup(LoadedModel("skiprank", 1, model_dir / "1"))


def test_too_many_records(model_dir):
    write_logs(model_dir, *[prediction_log_pb2.PredictionLog()] * 1001)
    with pytest.raises(StatusError, match="exceeds the maximum"):
        replay_warmup(LoadedModel("skiprank", 1, model_dir / "1"))


def test_all_kinds_of_records(half_plus_two, tmp_path):
    import shutil

    folder = shutil.copytree(half_plus_two / "123", tmp_path / "1")
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(0.5)
    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    logs[0].classify_log.request.model_spec.signature_name = "classify"
    logs[0].classify_log.request.input.example_list.examples.append(example)
    logs[1].regress_log.request.model_spec.signature_name = "regress"
    logs[1].regress_log.request.input.example_list.examples.append(example)
    task = logs[2].multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "half", "regress"
    logs[2].multi_inference_log.request.input.example_list.examples.append(example)
    write_logs(tmp_path, *logs)
    assert replay_warmup(LoadedModel("half", 1, folder)) == 4
