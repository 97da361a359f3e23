"""The blocking and the asyncio client against the embedded server and against misbehaving ones."""

import asyncio
import json
from concurrent import futures

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.async_client import AsyncRankingClient
from serving.client import RankingClient
from serving.client_core import ClientSettings
from serving.errors import RankingError


@pytest.fixture
def client(server):
    with RankingClient(server.target) as made:
        yield made


def as_rows(response):
    return [(v.rank, v.video_id, v.score, v.evv, v.fvv, v.gvv) for v in response]


def test_ranks_one_user(client, requests):
    request = requests[2]
    response = client.rank(request)
    assert (response.model, response.version) == ("skiprank", 2)
    assert [v.rank for v in response] == [1, 2, 3, 4]
    assert {v.video_id for v in response} <= {c.video_id for c in request.candidates}
    scores = [v.score for v in response]
    assert scores == sorted(scores, reverse=True)
    for video in response:
        np.testing.assert_allclose(video.score, video.evv + 0.5 * video.fvv - video.gvv, rtol=1e-5)


def test_a_batch_of_ragged_users_equals_single_requests(client, requests):
    batch = client.rank_many(requests)
    assert [len(r) for r in batch] == [3, 1, 4, 2]
    for request, response in zip(requests, batch, strict=True):
        single = client.rank(request)
        assert [v.video_id for v in response] == [v.video_id for v in single]
        np.testing.assert_allclose([v.score for v in response], [v.score for v in single], rtol=1e-5)


def test_an_empty_batch_asks_nobody():
    with RankingClient("127.0.0.1:1") as client:
        assert client.rank_many([]) == []


def test_every_field_reaches_the_model(client, requests):
    """Changing any one field of the request changes the answer."""
    original = requests[2].to_dict()
    reference = {v.video_id: v.score for v in client.rank(requests[2])}
    changes = [("platform",), ("profile", "age_band"), ("profile", "city"), ("user_id",), ("request_time_ms",)]
    changes += [("history", 0, key) for key in original["history"][0] if key not in ("extra", "time_ms")]
    changes += [("history", 0, "extra", "music_id")]
    changes += [("candidates", 0, key) for key in original["candidates"][0] if key not in ("extra", "video_id")]
    changes += [("candidates", 0, "extra", "music_id")]
    for path in changes:
        changed = json.loads(json.dumps(original))
        place = changed
        for key in path[:-1]:
            place = place[key]
        value = place[path[-1]]
        place[path[-1]] = value + 1 if isinstance(value, int) else value + "x"
        answer = {v.video_id: v.score for v in client.rank_many([type(requests[2]).from_dict(changed)])[0]}
        assert answer != reference, path


def test_weights_replace_the_models_own(client, requests):
    plain = client.rank(requests[2])
    same = client.rank(requests[2], weights=(1.0, 0.5, -1.0))
    assert [v.video_id for v in same] == [v.video_id for v in plain]
    only_evv = client.rank(requests[2], weights={"evv": 1.0, "gvv": 0.0, "fvv": 0.0})
    np.testing.assert_allclose([v.score for v in only_evv], [v.evv for v in only_evv], rtol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, 2.0, float("nan")), {"evv": 1.0}])
def test_refuses_weights_that_are_not_three_numbers(client, requests, weights):
    with pytest.raises(ValueError, match="`weights` must"):
        client.rank(requests[0], weights=weights)


def test_asks_for_a_version_or_a_label(server, requests):
    with RankingClient(server.target, version=1) as one, RankingClient(server.target, label="stable") as stable:
        assert one.rank(requests[2]).version == 1
        assert as_rows(stable.rank(requests[2])) == as_rows(one.rank(requests[2]))
    with pytest.raises(ValueError, match="not both"):
        RankingClient(server.target, version=1, label="stable")


def test_refuses_columns_that_the_model_does_not_take(client, requests):
    data = requests[2].to_dict()
    data["profile"]["shoe_size"] = "44"
    with pytest.raises(ValueError, match=r"`profile`.*'shoe_size'; it takes: age_band, city"):
        client.rank(type(requests[2]).from_dict(data))
    data = requests[2].to_dict()
    data["candidates"][1]["extra"]["tag"] = "x"
    with pytest.raises(ValueError, match=r"`candidates\[1\].extra`.*'tag'; it takes: music_id"):
        client.rank(type(requests[2]).from_dict(data))


def test_the_signature_names_the_columns(client):
    assert client.signature.profile_columns == ("age_band", "city")
    assert client.signature.video_columns == ("music_id",)


def test_server_errors_name_the_code_and_the_target(server, requests):
    with RankingClient(server.target, model="other") as client, pytest.raises(RankingError) as caught:
        client.rank(requests[0])
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert str(caught.value) == f"{server.target} answered NOT_FOUND: Servable not found for request: Latest(other)"
    with RankingClient(server.target, model="half") as client, pytest.raises(ValueError, match="no signature 'rank'"):
        client.rank(requests[0])


def test_no_server_is_unavailable(requests):
    with RankingClient("127.0.0.1:1", attempts=1, timeout_s=5) as client, pytest.raises(RankingError) as caught:
        client.rank(requests[0])
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert str(caught.value).startswith("127.0.0.1:1 cannot be reached: UNAVAILABLE")


class Moody:
    """Passes calls on to a real server, after failing some of them.

    Args:
        stub: The real server.
        failures: How many Predict calls fail first.
        code: With which status.
    """

    def __init__(self, stub, failures, code):
        self.stub, self.failures, self.code, self.calls = stub, failures, code, 0

    def GetModelMetadata(self, request, context):  # noqa: N802
        return self.stub.GetModelMetadata(request)

    def Predict(self, request, context):  # noqa: N802
        self.calls += 1
        if self.calls <= self.failures:
            context.abort(self.code, "moody")
        return self.stub.Predict(request)

    Classify = Regress = MultiInference = None


@pytest.fixture
def moody(stubs):
    """Starts a server that fails first; yields a function (failures, code) -> (target, servicer)."""
    servers = []

    def start(failures, code):
        made = grpc.server(futures.ThreadPoolExecutor(2))
        servicer = Moody(stubs.prediction, failures, code)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, made)
        port = made.add_insecure_port("127.0.0.1:0")
        made.start()
        servers.append(made)
        return f"127.0.0.1:{port}", servicer

    yield start
    for made in servers:
        made.stop(None)


def test_retries_while_unavailable(moody, requests):
    target, servicer = moody(2, grpc.StatusCode.UNAVAILABLE)
    with RankingClient(target) as client:
        assert len(client.rank(requests[2])) == 4
    assert servicer.calls == 3


def test_gives_up_after_the_last_attempt(moody, requests):
    target, servicer = moody(9, grpc.StatusCode.UNAVAILABLE)
    with RankingClient(target, attempts=2) as client, pytest.raises(RankingError, match="UNAVAILABLE: moody"):
        client.rank(requests[2])
    assert servicer.calls == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_retries_nothing_else(moody, requests, code):
    target, servicer = moody(1, code)
    with RankingClient(target) as client, pytest.raises(RankingError, match="moody"):
        client.rank(requests[2])
    assert servicer.calls == 1


def test_the_deadline_bounds_all_attempts(moody, requests):
    target, _ = moody(99, grpc.StatusCode.UNAVAILABLE)
    with RankingClient(target, attempts=5, timeout_s=0.3) as client, pytest.raises(RankingError) as caught:
        client.rank(requests[2])
    assert caught.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("bad", [{"timeout_s": 0.0}, {"attempts": 0}, {"attempts": 6}])
def test_refuses_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ClientSettings("h:1", **bad)


def test_asyncio_twin_answers_the_same(server, client, requests):
    async def ask():
        async with AsyncRankingClient(server.target) as twin:
            singles = await asyncio.gather(*(twin.rank(r) for r in requests))
            batch = await twin.rank_many(requests, weights=(0.0, 0.0, 1.0))
            assert await twin.rank_many([]) == []
            return singles, batch

    singles, batch = asyncio.run(ask())
    assert [as_rows(r) for r in singles] == [as_rows(client.rank(r)) for r in requests]
    assert [as_rows(r) for r in batch] == [as_rows(r) for r in client.rank_many(requests, weights=(0.0, 0.0, 1.0))]


def test_asyncio_twin_retries_and_reports(moody, server, requests):
    target, servicer = moody(2, grpc.StatusCode.UNAVAILABLE)

    async def ask():
        async with AsyncRankingClient(target) as twin:
            assert len(await twin.rank(requests[2])) == 4
        async with AsyncRankingClient(server.target, model="other") as twin:
            with pytest.raises(RankingError, match="NOT_FOUND"):
                await twin.rank(requests[2])

    asyncio.run(ask())
    assert servicer.calls == 3


def test_to_frame(client, requests):
    response = client.rank(requests[2])
    frame = response.to_frame()
    assert list(frame.columns) == ["rank", "video_id", "score", "evv", "fvv", "gvv"]
    assert frame.video_id.tolist() == [v.video_id for v in response]
    assert response[0] == next(iter(response))
