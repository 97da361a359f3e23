"""The embedded server: TF Serving's gRPC API in this process, for laptops, tests and demos.

It answers ``PredictionService`` (Predict, Classify, Regress, MultiInference, GetModelMetadata) and ``ModelService``
(GetModelStatus, HandleReloadConfigRequest) over the C++ session that TF Serving uses, with TF Serving's status codes
and messages, hot reload of version folders, labels, warm-up and gRPC health checking.

It is not TF Serving, which production should run. Left out: the REST API, request batching across calls, request
logging, the metrics and profiler endpoints, remote file systems, TF-Lite and TFRT, SessionRun, and resource estimates
before a load. Unlike TF Serving it refuses to start when a folder holds no version, refuses a reload that names a
missing folder instead of waiting for it, and has health checking on.

    with serve("models/skiprank", port=8500) as server:
        server.wait()

TensorFlow is imported when a server starts, after the port and the folders were checked.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import socket
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from serving.errors import ServingError, StatusError
from serving.versions import ModelConfig, VersionPolicy, version_folders

if TYPE_CHECKING:
    from serving.model_manager import ModelManager

logger = logging.getLogger(__name__)

#: Logged at start, and :attr:`RunningServer.banner`.
BANNER = (
    "skiprank embedded server: TF Serving's gRPC API over TensorFlow's C++ session, for laptops, tests and demos. "
    "No REST, no batching across calls, no metrics, no remote file systems: use tensorflow/serving in production."
)

#: The names under which health checking answers, beside '' for the whole server.
HEALTH_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@dataclasses.dataclass(frozen=True)
class ServerTLS:
    """Encrypts the server's port.

    Attributes:
        private_key: PEM file of the server's key.
        certificate_chain: PEM file of the server's certificate.
        client_ca: PEM file of the authority that must have signed the clients' certificates; None asks for none.
    """

    private_key: Path
    certificate_chain: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """The gRPC form. Raises OSError where a file cannot be read."""
        pair = (Path(self.private_key).read_bytes(), Path(self.certificate_chain).read_bytes())
        authority = Path(self.client_ca).read_bytes() if self.client_ca else None
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


class RunningServer:
    """A server that takes requests; a context manager that stops it.

    Attributes:
        target: ``host:port``, as clients want it.
        port: The port, chosen by the system where 0 was asked for.
        banner: What this server is and what it leaves out.
    """

    banner = BANNER

    def __init__(self, server: grpc.Server, manager: ModelManager, health: Any, host: str, port: int) -> None:
        self._server = server
        self._manager = manager
        self._health = health
        self.port = port
        self.target = _address(host, port)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the server stops, or for ``timeout_s`` seconds; returns whether it still runs."""
        return bool(self._server.wait_for_termination(timeout_s))

    def stop(self, grace_s: float = 5.0) -> None:
        """Takes no new request, lets those under way finish for ``grace_s`` seconds, and unloads the models."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._manager.stop()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    model_dir: str | Path,
    port: int = 8500,
    name: str = "skiprank",
    host: str = "127.0.0.1",
    *,
    policy: VersionPolicy | None = None,
    labels: Mapping[str, int] | None = None,
    more_models: Mapping[str, str | Path] | None = None,
    poll_s: float = 1.0,
    load_retries: int = 5,
    load_retry_s: float = 1.0,
    workers: int | None = None,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    max_message_bytes: int = 256 * 1024 * 1024,
    tls: ServerTLS | None = None,
) -> RunningServer:
    """Loads the model and serves it.

    Args:
        model_dir: The folder of version folders (``model_dir/1/saved_model.pb``). Move a new version there in one
            rename: a half-copied one fails to load and is retried ``load_retries`` times only.
        port: TCP port; 0 lets the system choose (see :attr:`RunningServer.port`).
        name: The model's name in requests.
        host: The address to listen on; only this machine unless told otherwise.
        policy: Which versions are served; the latest one by default.
        labels: Label -> version of the model ``name``.
        more_models: Name -> folder of further models, each served in its latest version.
        poll_s: Seconds between two looks at the folders.
        load_retries: How often a failed load is tried again.
        load_retry_s: Seconds before each retry.
        workers: Requests handled at the same time; by default twice the number of cores, at least 4.
        intra_op_threads: TensorFlow's threads per operation; 0 lets TensorFlow decide.
        inter_op_threads: Operations that TensorFlow runs at the same time; 0 lets TensorFlow decide.
        max_message_bytes: The largest message received or sent.
        tls: Encrypts the port.

    Raises:
        ServingError: The port is in use, a folder is missing or holds no version, or no version can be loaded.
        ValueError: A number is out of its bounds, or ``more_models`` names the model again.
    """
    for argument, value in (("poll_s", poll_s), ("load_retry_s", load_retry_s), ("load_retries", load_retries)):
        if value < 0:
            raise ValueError(f"`{argument}` must not be negative. Received: {argument}={value}.")
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be at least 1. Received: workers={workers}.")
    if name in (more_models or {}):
        raise ValueError(f"`more_models` must not name {name!r} again, which `model_dir` holds.")
    policies = {name: policy or VersionPolicy()}
    folders = {name: Path(model_dir), **{n: Path(p) for n, p in (more_models or {}).items()}}
    configs = [ModelConfig(n, folder, policies.get(n, VersionPolicy())) for n, folder in folders.items()]
    for config in configs:
        _check_folder(config)
    workers = workers or max(4, 2 * (os.cpu_count() or 1))
    server = grpc.server(
        futures.ThreadPoolExecutor(workers, thread_name_prefix="skiprank-serve"),
        options=[
            # Without this a second server would silently share the port and get half of the requests.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            # Clients may keep idle connections alive; by default the server would hang up on their pings.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    bound_port = _bind(server, host, port, tls)
    # Imported now: TensorFlow takes seconds to import, and bad input should be told at once.
    from serving.loaded_model import LoadedModel
    from serving.model_manager import ModelManager

    manager = ModelManager(
        poll_s=poll_s,
        load_retries=load_retries,
        load_retry_s=load_retry_s,
        load=lambda model_name, version, path: LoadedModel(
            model_name, version, path, intra_op_threads=intra_op_threads, inter_op_threads=inter_op_threads
        ),
    )
    try:
        manager.start(configs)
        manager.set_labels({name: labels or {}})
        health = _register(server, manager)
    except BaseException as error:
        server.stop(0).wait()
        manager.stop()
        if isinstance(error, StatusError):
            raise ServingError(error.message) from error
        raise
    server.start()
    running = RunningServer(server, manager, health, host, bound_port)
    logger.info("%s Listening on %s.", BANNER, running.target)
    return running


def _check_folder(config: ModelConfig) -> None:
    try:
        found = version_folders(config.base_path)
    except FileNotFoundError:
        raise ServingError(f"the model folder {config.base_path} does not exist") from None
    except OSError as error:
        raise ServingError(f"the model folder {config.base_path} cannot be read: {error.strerror}") from error
    if not found:
        hint = (
            "; it is a version itself: give its parent folder, and an integer name to the version"
            if (config.base_path / "saved_model.pb").exists()
            else "; a version is a folder whose name is an integer, such as 1/"
        )
        raise ServingError(f"the model folder {config.base_path} holds no version{hint}")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(server: grpc.Server, host: str, port: int, tls: ServerTLS | None) -> int:
    _check_port(host, port)
    address = _address(host, port)
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials())
    except OSError as error:
        raise ServingError(f"the TLS file {error.filename} cannot be read: {error.strerror}") from error
    except RuntimeError as error:
        raise ServingError(f"cannot listen on {address}: {error}") from error


def _check_port(host: str, port: int) -> None:
    """Binds the port once with a plain socket, since gRPC does not say why it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServingError(
                    f"port {port} is in use; stop the server that has it, or choose another port"
                ) from error
            raise ServingError(f"cannot listen on {_address(host, port)}: {error.strerror or error}") from error
        except OverflowError:
            raise ServingError(f"`port` must lie between 0 and 65535. Received: port={port}.") from None


def _register(server: grpc.Server, manager: ModelManager) -> Any:
    """Adds the services and health checking; returns the health servicer."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.services import ModelServicer, PredictionServicer

    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServicer(manager), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(manager), server)
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for service in ("", *HEALTH_SERVICES):
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    return servicer
