"""Small served models: a ranking toy with the real signatures, and a half-plus-two with the older ones."""

import dataclasses
import shutil

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from components.features import FLAGS, FeatureSet
from serving.request import Candidate, Play, RankRequest
from serving.server import serve

FEATURES = FeatureSet.of(["age_band", "city"], ["music_id"])
NOW = 1_650_000_000_000
LIST_LENGTH = 4
_DTYPES = {"bytes": tf.string, "int64": tf.int64}
_SHAPES = {"B": [None], "BH": [None, None], "BN": [None, None]}


def _number(tensor):
    """Any feature as a number in [0, 1) that differs from value to value."""
    if tensor.dtype == tf.int64:
        tensor = tf.strings.as_string(tensor)
    return tf.cast(tf.strings.to_hash_bucket_fast(tensor, 9973), tf.float32) / 9973.0


class ToyRanker(tf.Module):
    """Scores that depend on every input: hashes of all features, weighted by their place in the signature."""

    def __init__(self, shift, features):
        super().__init__()
        self.features = features
        self.shift = tf.Variable(shift, dtype=tf.float32)

    def logits(self, inputs):
        total = {"B": 0.0, "BH": 0.0, "BN": 0.0}
        for place, spec in enumerate(self.features.rank_inputs, start=1):
            total[spec.axes] += _number(inputs[spec.name]) * (1.0 + 0.37 * place)
        watched = tf.cast(inputs["history_video_id"] != "", tf.float32)  # [B, H]
        history = tf.reduce_sum(total["BH"] * watched, axis=1)  # [B]
        context = (total["B"] + history)[:, None, None]  # [B, 1, 1]
        return self.shift + tf.sin((context + total["BN"][:, :, None]) * tf.constant([1.0, 1.7, 2.3]))  # [B, N, K]

    @tf.function
    def rank_with_weights(self, fusion_weights, **inputs):
        probabilities = tf.sigmoid(self.logits(inputs))  # [B, N, K]
        videos = inputs["candidate_video_id"]  # [B, N]
        score = tf.reduce_sum(probabilities * fusion_weights, axis=-1)  # [B, N]
        masked = tf.where(videos != "", score, tf.fill(tf.shape(score), -1e30))
        length = tf.minimum(LIST_LENGTH, tf.shape(videos)[1])
        order = tf.argsort(masked, direction="DESCENDING", stable=True)[:, :length]  # [B, L]
        outputs = {"video_id": tf.gather(videos, order, batch_dims=1), "score": tf.gather(score, order, batch_dims=1)}
        ranked = tf.gather(probabilities, order, batch_dims=1)  # [B, L, K]
        return {**outputs, **{flag: ranked[:, :, k] for k, flag in enumerate(FLAGS)}}

    @tf.function
    def rank(self, **inputs):
        return self.rank_with_weights(tf.constant([1.0, 0.5, -1.0]), **inputs)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def score_examples(self, examples):
        return {"length": tf.strings.length(examples)}


def save_ranker(path, shift=0.0, features=FEATURES):
    """Writes the toy as a SavedModel with the signatures of a real export."""
    toy = ToyRanker(shift, features)
    specs = {s.name: tf.TensorSpec(_SHAPES[s.axes], _DTYPES[s.dtype], s.name) for s in features.rank_inputs}
    weights = tf.TensorSpec([3], tf.float32, "fusion_weights")
    signatures = {
        "rank": toy.rank.get_concrete_function(**specs),
        "rank_with_weights": toy.rank_with_weights.get_concrete_function(fusion_weights=weights, **specs),
        "serving_default": toy.score_examples,
    }
    tf.saved_model.save(toy, str(path), signatures=signatures)


def save_half_plus_two(path):
    """Writes x / 2 + 2 with predict, regress and classify signatures, a sum of two inputs, and a slow loop."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        y = tf.add(x / 2.0, 2.0, name="y")
        left, right = v1.placeholder(tf.float32, name="left"), v1.placeholder(tf.float32, name="right")
        total = tf.add(left, right, name="total")
        examples = v1.placeholder(tf.string, [None], "examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]  # [B, 1]
        halved = tf.add(parsed / 2.0, 2.0)
        classes = tf.tile(tf.constant([["small", "large"]]), [tf.shape(examples)[0], 1])  # [B, 2]
        scores = tf.concat([1.0 - parsed, parsed], axis=1)  # [B, 2]
        steps = v1.placeholder(tf.int64, [], "steps")
        counted = tf.while_loop(lambda i: i < steps, lambda i: i + 1, [tf.constant(0, tf.int64)])[0]
        code = v1.placeholder(tf.string, name="code")
        complaint = v1.debugging.Assert(tf.reduce_all(tf.equal(tf.strings.length(code), 0)), [code], summarize=1)
        with tf.control_dependencies([complaint]):
            kept = tf.identity(code)

        def signature(inputs, outputs, method="predict"):
            info = v1.saved_model.build_tensor_info
            return v1.saved_model.build_signature_def(
                {k: info(v) for k, v in inputs.items()},
                {k: info(v) for k, v in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}),
                "sum": signature({"left": left, "right": right}, {"total": total, "left_again": tf.identity(left)}),
                "slow": signature({"steps": steps}, {"counted": counted}),
                "echo_or_fail": signature({"code": code}, {"code": kept}),
                "regress": signature({"inputs": examples}, {"outputs": halved}, "regress"),
                "classify": signature({"inputs": examples}, {"classes": classes, "scores": scores}, "classify"),
            },
        )
        builder.save()


@pytest.fixture(scope="session")
def saved_rankers(tmp_path_factory):
    """Two saved versions of the toy, to be copied into model folders: shift 0 and shift 1."""
    folder = tmp_path_factory.mktemp("rankers")
    for version, shift in ((1, 0.0), (2, 1.0)):
        save_ranker(folder / str(version), shift)
    return folder


@pytest.fixture(scope="session")
def save_ranker_with():
    """Saves a toy with other profile columns: (path, columns)."""
    return lambda path, columns: save_ranker(path, features=FeatureSet.of(columns, ["music_id"]))


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory):
    """A model folder with version 123 of half-plus-two."""
    folder = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus_two(folder / "123")
    return folder


@pytest.fixture
def model_dir(tmp_path, saved_rankers):
    """A model folder of the toy's version 1."""
    shutil.copytree(saved_rankers / "1", tmp_path / "model" / "1")
    return tmp_path / "model"


@dataclasses.dataclass
class Stubs:
    """The two services of one server."""

    target: str

    def __post_init__(self):
        self.channel = grpc.insecure_channel(self.target)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)


@pytest.fixture(scope="session")
def server(saved_rankers, half_plus_two):
    """A server of the toy ranker (both versions) and of half-plus-two, as `half`."""
    from serving.versions import VersionPolicy

    labels = {"stable": 1, "canary": 2}
    with serve(
        saved_rankers, 0, policy=VersionPolicy.all(), labels=labels, more_models={"half": half_plus_two}
    ) as running:
        yield running


@pytest.fixture(scope="session")
def stubs(server):
    made = Stubs(server.target)
    yield made
    made.channel.close()


@pytest.fixture
def connect():
    """Makes stubs for further servers and closes their channels."""
    made = []

    def to(running):
        made.append(Stubs(running.target))
        return made[-1]

    yield to
    for stubs_ in made:
        stubs_.channel.close()


def make_request(user=1, plays=3, candidates=6):
    """A request whose every field is filled."""
    history = [
        Play(
            video_id=f"h{user}-{i}",
            time_ms=NOW - 1000 * (plays - i),
            play_time_ms=500 * i + user,
            duration_ms=9000 + i,
            platform=str(i % 2),
            author_id=f"a{i}",
            category=f"c{i % 3}",
            extra={"music_id": f"m{i}"},
        )
        for i in range(plays)
    ]
    ranked = [
        Candidate(f"v{user}-{i}", 7000 + i, f"a{i}", f"c{i % 3}", {"music_id": f"m{i}"}) for i in range(candidates)
    ]
    profile = {"age_band": "18-23", "city": f"city{user}"}
    return RankRequest(f"u{user}", NOW + user, ranked, history, "1", profile)


@pytest.fixture
def requests():
    """Four users with histories of 0, 1, 3, 5 plays and 1 to 7 candidates."""
    return [make_request(user, plays, n) for user, (plays, n) in enumerate([(0, 3), (1, 1), (3, 7), (5, 2)])]
