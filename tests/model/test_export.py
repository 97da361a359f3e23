"""The served signatures: parity, padding, ties, a fresh process."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.features import FLAGS
from model.export import ServedModel

DTYPES = {"bytes": tf.string, "int64": tf.int64}


def _save(tiny, folder, correction=(0.0, 0.0, 0.0)):
    ServedModel(tiny.network, tiny.vocabularies, correction).save(str(folder))
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def served(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return _save(tiny, folder), folder


def request(tiny, example, history, candidates):
    """A rank request: plays ``history`` as the past, plays ``candidates`` as candidates at the first one's moment."""
    inputs = {}
    for i in tiny.network.features.rank_inputs:
        values = np.atleast_1d(example[i.feature])
        chosen = {"BH": history, "BN": candidates}.get(i.axes, candidates[:1] if len(values) > 1 else [0])
        picked = values[list(chosen)] if i.feature in example and len(values) > 1 else values[[0] * len(chosen)]
        if i.dtype == "bytes":
            picked = np.array([f"{i.feature[0]}{v}" for v in picked], object)
        tensor = tf.constant(picked.tolist(), DTYPES[i.dtype], shape=[len(chosen)])
        inputs[i.name] = tensor if i.axes == "B" else tensor[tf.newaxis, :]
    return inputs


def test_rank_computes_what_serving_default_computes(tiny, served):
    model, _ = served
    raw = tiny.raw()[:40]
    bulk = model.signatures["serving_default"](examples=tf.constant(raw))
    for row, example in enumerate(tiny.plays[:40]):
        for at in np.flatnonzero(example["is_target"]):
            out = model.signatures["rank"](**request(tiny, example, range(at), [at]))
            for flag in FLAGS:
                np.testing.assert_allclose(out[flag][0, 0], bulk[flag][row, at], atol=1e-6)
            np.testing.assert_allclose(out["score"][0, 0], bulk["score"][row, at], atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"preset": "paper", "attention": "full"}, "targets_per_example": 1},
        {"model": {"encoder": "none"}},
    ],
)
def test_parity_of_the_other_forms(make, tmp_path, settings):
    tiny = make(**settings)
    model = _save(tiny, tmp_path)
    bulk = model.signatures["serving_default"](examples=tf.constant(tiny.raw()[:10]))
    for row, example in enumerate(tiny.plays[:10]):
        at = len(example["video_id"]) - 1
        out = model.signatures["rank"](**request(tiny, example, range(at), [at]))
        for flag in FLAGS:
            np.testing.assert_allclose(out[flag][0, 0], bulk[flag][row, at], atol=1e-6)


def _long(tiny):
    return next(e for e in tiny.plays if len(e["video_id"]) >= 8)


def test_list_is_sorted_and_fused(tiny, served):
    model, _ = served
    out = model.signatures["rank"](**request(tiny, _long(tiny), range(3), range(8)))
    score = out["score"].numpy()[0]
    assert (np.diff(score) <= 0).all() and len(score) == 8
    np.testing.assert_allclose(score, (out["evv"] + out["fvv"] - out["gvv"])[0], atol=1e-6)


def test_weights_of_the_request_replace_the_configured_ones(tiny, served):
    model, _ = served
    inputs = request(tiny, _long(tiny), range(3), range(8))
    out = model.signatures["rank_with_weights"](fusion_weights=tf.constant([0.0, 0.0, -1.0]), **inputs)
    np.testing.assert_allclose(out["score"], -out["gvv"], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="fusion_weights must be finite"):
        model.signatures["rank_with_weights"](fusion_weights=tf.constant([0.0, np.nan, -1.0]), **inputs)


def test_candidates_and_users_do_not_influence_each_other(tiny, served):
    model, _ = served
    a, b = [e for e in tiny.plays if len(e["video_id"]) >= 8][:2]
    one = model.signatures["rank"](**request(tiny, a, range(3), [4]))
    inputs = [request(tiny, a, range(3), range(4, 8)), request(tiny, b, range(3), range(4, 8))]
    both = model.signatures["rank"](**{n: tf.concat([inputs[0][n], inputs[1][n]], axis=0) for n in inputs[0]})
    place = both["video_id"].numpy()[0].tolist().index(f"v{a['video_id'][4]}".encode())
    np.testing.assert_allclose(both["score"][0, place], one["score"][0, 0], atol=1e-6)


def _pad(inputs, tiny, history=0, candidates=0, front=False):
    padded = {}
    for i in tiny.network.features.rank_inputs:
        more = {"BH": history, "BN": candidates}.get(i.axes, 0)
        value = "" if i.dtype == "bytes" else 0
        pads = [[0, 0], [more, 0] if front else [0, more]]
        padded[i.name] = tf.pad(inputs[i.name], pads, constant_values=value) if i.axes != "B" else inputs[i.name]
    return padded


@pytest.mark.parametrize("front", [False, True])
def test_padding_changes_nothing_and_never_ranks_before_a_real_candidate(tiny, served, front):
    model, _ = served
    inputs = request(tiny, _long(tiny), range(3), range(6))
    plain = model.signatures["rank"](**inputs)
    out = model.signatures["rank"](**_pad(inputs, tiny, history=4, candidates=3, front=front))
    for name in ("score", *FLAGS):
        np.testing.assert_allclose(out[name][:, :6], plain[name], atol=1e-6)
    assert out["video_id"].numpy()[0, 6:].tolist() == [b""] * 3
    assert all(np.isfinite(out[name]).all() for name in ("score", *FLAGS))


def test_edge_sizes(tiny, served):
    model, _ = served
    example = _long(tiny)
    assert model.signatures["rank"](**request(tiny, example, [], [0]))["score"].shape == (1, 1)
    none = model.signatures["rank"](
        **{**request(tiny, example, range(2), [3])},
    )
    assert np.isfinite(none["score"]).all()
    empty = {n: v[:, :0] if n.startswith("candidate_") else v for n, v in request(tiny, example, range(2), [3]).items()}
    assert model.signatures["rank"](**empty)["score"].shape == (1, 0)


def test_unknown_ids_are_scored(tiny, served):
    model, _ = served
    inputs = request(tiny, _long(tiny), range(3), range(6))
    unknown = {n: tf.fill(tf.shape(v), "never seen") if v.dtype == tf.string else v for n, v in inputs.items()}
    out = model.signatures["rank"](**unknown)
    assert np.isfinite(out["score"]).all()


def test_only_the_newest_plays_count_beyond_the_longest_prefix(tiny, served):
    model, _ = served
    example = next(e for e in tiny.plays if len(e["video_id"]) == tiny.run.max_prefix + 1)
    at = tiny.run.max_prefix
    plain = model.signatures["rank"](**request(tiny, example, range(at), [at]))
    older = request(tiny, example, [0, 1, 2, *range(at)], [at])
    np.testing.assert_allclose(model.signatures["rank"](**older)["score"], plain["score"], atol=1e-6)


def test_the_correction_shifts_the_logits(tiny, tmp_path):
    plain = _save(tiny, tmp_path / "plain")
    shifted = _save(tiny, tmp_path / "shifted", correction=(0.0, 0.0, -1.0))
    inputs = request(tiny, _long(tiny), range(3), [4])
    p, q = (float(m.signatures["rank"](**inputs)["gvv"][0, 0]) for m in (plain, shifted))
    assert np.log(q / (1 - q)) == pytest.approx(np.log(p / (1 - p)) - 1, abs=1e-4)


def test_a_fresh_process_gives_the_same_scores(tiny, served, tmp_path):
    model, folder = served
    inputs = request(tiny, _long(tiny), range(3), range(6))
    np.savez(tmp_path / "inputs.npz", **{n: v.numpy() for n, v in inputs.items()})
    script = (
        "import numpy as np, tensorflow as tf\n"
        f"inputs = np.load({str(tmp_path / 'inputs.npz')!r}, allow_pickle=True)\n"
        f"rank = tf.saved_model.load({str(folder)!r}).signatures['rank']\n"
        "out = rank(**{n: tf.constant(v.tolist() if v.dtype == object else v) for n, v in inputs.items()})\n"
        f"np.save({str(tmp_path / 'score.npy')!r}, out['score'].numpy())\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "score.npy"), model.signatures["rank"](**inputs)["score"])
