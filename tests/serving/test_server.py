"""Starting, reloading, labelling and stopping the embedded server."""

import dataclasses
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving.client import ClientTLS, RankingClient
from serving.errors import RankingError, ServingError
from serving.server import ServerTLS, serve
from serving.versions import State, VersionPolicy

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05


def put_version(saved_rankers, model_dir, version, as_version=None):
    """Copies a saved version beside the model folder, then moves it in at once, as an export does."""
    aside = model_dir.parent / f"aside-{version}"
    shutil.copytree(saved_rankers / str(version), aside)
    target = model_dir / str(as_version or version)
    return aside.rename(target)


def wait_until(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the server did not get there"
        time.sleep(0.02)


def states(stubs, name="skiprank"):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    listed = stubs.model.GetModelStatus(request).model_version_status
    return {s.version: State(s.state) for s in listed}


def reload_config(*models):
    """A ReloadConfigRequest of (name, base path, policy, labels) tuples."""
    request = model_management_pb2.ReloadConfigRequest()
    for name, path, policy, labels in models:
        config = request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
        if policy == "all":
            config.model_version_policy.all.SetInParent()
        elif policy:
            config.model_version_policy.specific.versions.extend(policy)
        config.version_labels.update(labels)
    return request


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    return caught.value.code(), caught.value.details()


# --- starting ---------------------------------------------------------------------------------------------------------


def test_importing_serving_is_light():
    script = "import sys, serving, serving.server, serving.request; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_port_in_use_is_one_clear_error(server, model_dir):
    with pytest.raises(ServingError, match=f"port {server.port} is in use; "):
        serve(model_dir, server.port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServingError, match="is in use"):
            serve(model_dir, other.getsockname()[1])


def test_bad_addresses(model_dir):
    with pytest.raises(ServingError, match="between 0 and 65535"):
        serve(model_dir, 70_000)
    with pytest.raises(ServingError, match="cannot listen on"):
        serve(model_dir, 0, host="192.0.2.1")


@pytest.mark.parametrize(
    "bad", [{"poll_s": -1.0}, {"load_retries": -1}, {"workers": 0}, {"more_models": {"skiprank": "elsewhere"}}]
)
def test_refuses_bad_arguments(model_dir, bad):
    with pytest.raises(ValueError, match=f"`{next(iter(bad))}` must"):
        serve(model_dir, 0, **bad)


def test_folders_without_a_version(tmp_path, saved_rankers):
    with pytest.raises(ServingError, match="nowhere does not exist"):
        serve(tmp_path / "nowhere", 0)
    (tmp_path / "latest").mkdir()
    (tmp_path / "7").write_text("a file is no version")
    with pytest.raises(ServingError, match="holds no version; a version is a folder whose name is an integer"):
        serve(tmp_path, 0)
    with pytest.raises(ServingError, match="give its parent folder"):
        serve(saved_rankers / "1", 0)


def test_a_model_that_cannot_be_loaded(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ServingError, match="model skiprank cannot be served: version 1 of model skiprank cannot be"):
        serve(tmp_path, 0, load_retries=0)


def test_specific_versions_that_are_missing(model_dir):
    with pytest.raises(ServingError, match=r"holds no version of model skiprank among \[5, 6\]"):
        serve(model_dir, 0, policy=VersionPolicy.specific(5, 6))


def test_labels_on_missing_versions(model_dir):
    with pytest.raises(ServingError, match="label to version 9 of model skiprank, which is not currently available"):
        serve(model_dir, 0, labels={"canary": 9})


def test_says_what_it_is(model_dir, caplog):
    with caplog.at_level(logging.INFO, "serving"), serve(model_dir, 0) as running:
        assert "use tensorflow/serving in production" in running.banner
        assert running.target == f"127.0.0.1:{running.port}"
        assert running.wait(0.01)
    assert running.banner in caplog.text


# --- reloading --------------------------------------------------------------------------------------------------------


def test_hot_reload_under_concurrent_clients(model_dir, saved_rankers, requests):
    """Every answer comes whole from one version, none fails, and the new version takes over."""
    expected = {}
    with serve(saved_rankers, 0, policy=VersionPolicy.all()) as both:
        for version in (1, 2):
            with RankingClient(both.target, version=version) as client:
                expected[version] = [v.score for v in client.rank(requests[2])]
    stop = threading.Event()
    with serve(model_dir, 0, poll_s=POLL_S) as running:

        def ask():
            seen = []
            with RankingClient(running.target, attempts=1) as client:
                while not stop.is_set():
                    response = client.rank(requests[2])
                    assert [v.score for v in response] == pytest.approx(expected[response.version], rel=1e-5)
                    seen.append(response.version)
            return seen

        with futures.ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask) for _ in range(3)]
            try:
                with RankingClient(running.target) as client:
                    put_version(saved_rankers, model_dir, 2)
                    wait_until(lambda: client.rank(requests[2]).version == 2)
            finally:
                stop.set()
            for task in asking:
                seen = task.result()
                assert seen == sorted(seen)  # never back to the old version


def test_the_old_version_goes_after_the_new_one_is_there(model_dir, saved_rankers, connect):
    with serve(model_dir, 0, poll_s=POLL_S) as running:
        stubs = connect(running)
        assert states(stubs) == {1: State.AVAILABLE}
        put_version(saved_rankers, model_dir, 2)
        wait_until(lambda: states(stubs) == {2: State.AVAILABLE, 1: State.END})
        assert refusal_of_version(running, 1) == "Servable not found for request: Specific(skiprank, 1)"
        shutil.rmtree(model_dir / "2")  # version 1 is the latest again
        wait_until(lambda: states(stubs)[1] is State.AVAILABLE)


def refusal_of_version(running, version):
    from serving.request import Candidate, RankRequest

    with RankingClient(running.target, version=version) as client, pytest.raises(RankingError) as caught:
        client.rank(RankRequest("u", 1, [Candidate("v", 1)]))
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    return caught.value.details


def test_a_folder_that_is_away_empties_nothing(model_dir, requests, connect):
    with serve(model_dir, 0, poll_s=POLL_S) as running, RankingClient(running.target) as client:
        model_dir.rename(model_dir.parent / "away")
        time.sleep(4 * POLL_S)
        assert client.rank(requests[2]).version == 1


def test_a_broken_version_leaves_the_old_one_serving(model_dir, saved_rankers, requests, connect):
    with serve(model_dir, 0, poll_s=POLL_S, load_retries=1, load_retry_s=0.01) as running:
        stubs = connect(running)
        broken = model_dir.parent / "broken"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"not a model")
        broken.rename(model_dir / "3")
        wait_until(lambda: states(stubs).get(3) is State.END)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "skiprank"
        newest = stubs.model.GetModelStatus(request).model_version_status[0]
        assert newest.status.error_code != 0
        assert "version 3 of model skiprank cannot be loaded" in newest.status.error_message
        with RankingClient(running.target) as client:
            assert client.rank(requests[2]).version == 1
            shutil.rmtree(model_dir / "3")  # a repaired version of the same number is tried again
            wait_until(lambda: 3 not in states(stubs))
            put_version(saved_rankers, model_dir, 2, as_version=3)
            wait_until(lambda: client.rank(requests[2]).version == 3)


def test_requests_under_way_finish_on_the_version_that_took_them(model_dir, saved_rankers):
    """A retired session stays open until its last request is counted out."""
    from serving.loaded_model import LoadedModel

    model = LoadedModel("skiprank", 1, model_dir / "1")
    with model.in_use():
        model.retire()
        assert not model.closed
        output = model.signatures["serving_default"].outputs["length"].name
        examples = model.signatures["serving_default"].inputs["examples"].name
        import numpy as np

        assert model.run({examples: np.array([b"abc"], object)}, [output])[0].tolist() == [3]
    assert model.closed
    model.retire()
    with pytest.raises(Exception, match="was unloaded"):
        model.acquire()


# --- policies, labels and several models by ReloadConfig --------------------------------------------------------------


def test_reload_config_changes_policies_labels_and_models(model_dir, saved_rankers, half_plus_two, requests, connect):
    put_version(saved_rankers, model_dir, 2)
    with serve(model_dir, 0, poll_s=POLL_S) as running:
        stubs = connect(running)
        assert states(stubs) == {2: State.AVAILABLE}
        # Both versions, and a second model, which is there when the call returns.
        stubs.model.HandleReloadConfigRequest(
            reload_config(("skiprank", model_dir, "all", {}), ("half", half_plus_two, None, {"only": 123}))
        )
        assert states(stubs, "half") == {123: State.AVAILABLE}
        wait_until(lambda: states(stubs) == {2: State.AVAILABLE, 1: State.AVAILABLE})
        # Labels move between versions that are available.
        for version in (1, 2):
            stubs.model.HandleReloadConfigRequest(reload_config(("skiprank", model_dir, "all", {"stable": version})))
            with RankingClient(running.target, label="stable") as client:
                assert client.rank(requests[2]).version == version
        assert refusal(stubs.model.GetModelStatus, status_of("half"))[0] is grpc.StatusCode.NOT_FOUND
        # A label on a version that is not available is refused, and the old one stays.
        code, message = refusal(
            stubs.model.HandleReloadConfigRequest, reload_config(("skiprank", model_dir, "all", {"stable": 9}))
        )
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert message == (
            "Request to assign label to version 9 of model skiprank, which is not currently available for inference"
        )
        with RankingClient(running.target, label="stable") as client:
            assert client.rank(requests[2]).version == 2
        # One listed version only.
        stubs.model.HandleReloadConfigRequest(reload_config(("skiprank", model_dir, [1], {})))
        wait_until(lambda: states(stubs) == {2: State.END, 1: State.AVAILABLE})


def status_of(name):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    return request


def test_reload_config_refusals(model_dir, tmp_path, requests, connect):
    with serve(model_dir, 0, poll_s=POLL_S, load_retries=0) as running:
        stubs = connect(running)
        twice = reload_config(("skiprank", model_dir, None, {}), ("skiprank", model_dir, None, {}))
        code, message = refusal(stubs.model.HandleReloadConfigRequest, twice)
        assert (code, message) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Illegal to list model skiprank multiple times in config list",
        )
        missing = reload_config(("skiprank", model_dir, None, {}), ("new", tmp_path / "nowhere", None, {}))
        code, message = refusal(stubs.model.HandleReloadConfigRequest, missing)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert message.startswith("Could not find base path")
        (tmp_path / "bad" / "1").mkdir(parents=True)
        broken = reload_config(("skiprank", model_dir, None, {}), ("bad", tmp_path / "bad", None, {}))
        code, message = refusal(stubs.model.HandleReloadConfigRequest, broken)
        assert (code, message) == (grpc.StatusCode.UNKNOWN, "Some models did not become available: {bad}")
        other = reload_config(("skiprank", model_dir, None, {}))
        other.config.model_config_list.config[0].model_platform = "caffe"
        assert refusal(stubs.model.HandleReloadConfigRequest, other)[0] is grpc.StatusCode.INVALID_ARGUMENT
        with RankingClient(running.target) as client:
            assert client.rank(requests[2]).version == 1


def test_policies():
    assert VersionPolicy.latest(2).chosen({1, 5, 3}) == {3, 5}
    assert VersionPolicy.all().chosen({1, 5}) == {1, 5}
    assert VersionPolicy.specific(5, 8).chosen({1, 5}) == {5}
    with pytest.raises(ValueError, match="`count`"):
        VersionPolicy.latest(0)
    with pytest.raises(ValueError, match="`versions`"):
        VersionPolicy.specific()


@pytest.mark.parametrize("columns", [["age_band"], ["age_band", "town"]], ids=["fewer", "renamed"])
def test_the_client_learns_a_new_versions_inputs(model_dir, save_ranker_with, columns, requests):
    """A hot reload may bring a model with other columns; the client then asks for its signature again."""
    plain = dataclasses.replace(requests[1], profile={})
    with (
        serve(model_dir, 0, policy=VersionPolicy.all(), poll_s=POLL_S) as running,
        RankingClient(running.target) as client,
        RankingClient(running.target) as other,
    ):
        assert client.rank(plain).version == other.rank(plain).version == 1
        save_ranker_with(model_dir.parent / "new", columns)
        (model_dir.parent / "new").rename(model_dir / "2")
        wait_until(lambda: client.rank(plain).version == 2)
        assert client.signature.profile_columns == tuple(columns)
        # A column that only the new version takes: the client asks before it refuses the request.
        renamed = dataclasses.replace(plain, profile=dict.fromkeys(columns, "x"))
        assert other.rank(renamed).version == 2
        with pytest.raises(ValueError, match="'city'; it takes: age_band"):
            client.rank(requests[1])


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    """A key and a self-signed certificate for localhost."""
    import datetime

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files[0].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files[1].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return files


def test_tls(model_dir, certificate, requests):
    key, chain = certificate
    with serve(model_dir, 0, tls=ServerTLS(key, chain)) as running:
        tls = ClientTLS(root_certificates=chain, server_name="localhost")
        with RankingClient(running.target, tls=tls) as client:
            assert client.rank(requests[2]).version == 1
        with RankingClient(running.target, attempts=1, timeout_s=5) as client, pytest.raises(RankingError):
            client.rank(requests[2])
    with pytest.raises(ServingError, match=r"TLS file .*nokey.pem cannot be read"):
        serve(model_dir, 0, tls=ServerTLS(key.with_name("nokey.pem"), chain))
