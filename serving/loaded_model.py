"""One version of a SavedModel inside TensorFlow's C++ session, as TF Serving runs it.

The session is called by ``TF_SessionRun``, below the Python feed and fetch machinery. That machinery casts feeds
silently (a double tensor would pass for a float one) and answers a bad shape with a Python error; the C++ session
answers both with the very messages that TF Serving passes on. It also takes run options per call, so that the client's
deadline bounds the run.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from serving.errors import ServingError, StatusError
from serving.tensors import Array

#: The tag of the graph that TF Serving loads.
TAG = "serve"

#: gRPC gives a call without a deadline this much time and more.
_NO_LIMIT_S = 30 * 86_400

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class LoadedModel:
    """A session with its signatures; closed once it is retired and the last request in it is done.

    Args:
        name: The model's name in requests.
        version: The number of the version folder.
        path: The SavedModel folder.
        intra_op_threads: Threads of one operation; 0 lets TensorFlow decide.
        inter_op_threads: Operations that run at the same time; 0 lets TensorFlow decide.

    Raises:
        ServingError: The folder holds no SavedModel that can be loaded with the tag ``serve``.
    """

    def __init__(
        self, name: str, version: int, path: Path, *, intra_op_threads: int = 0, inter_op_threads: int = 0
    ) -> None:
        self.name = name
        self.version = version
        self.path = path
        self._graph = tf.Graph()
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
        )
        self._session = tf.compat.v1.Session(graph=self._graph, config=config)
        try:
            with self._graph.as_default():
                meta_graph = SavedModelLoader(str(path)).load(self._session, [TAG])
            # Graph building is over: the C++ session must see the whole graph before it is called directly.
            self._graph.finalize()
            self._session._extend_graph()
        except Exception as error:
            self._session.close()
            raise ServingError(f"version {version} of model {name} cannot be loaded from {path}: {error}") from error
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._handles = {
            info.name: self._graph.as_graph_element(info.name)._as_tf_output()
            for signature in self.signatures.values()
            for infos in (signature.inputs, signature.outputs)
            for info in infos.values()
            if ":" in info.name  # not the initialisation op, which TensorFlow lists among the signatures
        }
        self._lock = threading.Lock()
        self._requests = 0
        self._retired = False

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], timeout_s: float | None = None) -> list[Array]:
        """Runs the graph once.

        Args:
            feeds: Tensor name -> value. The C++ session checks the dtypes.
            fetches: Tensor names.
            timeout_s: Seconds after which the run is cancelled; None: no limit.

        Raises:
            StatusError: With the session's code and message.
        """
        if timeout_s is not None and timeout_s <= 0:
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            outputs: list[Array] = self._session._call_tf_sessionrun(
                _run_options(timeout_s),
                {self._handle(name): value for name, value in feeds.items()},
                [self._handle(name) for name in fetches],
                [],
                None,
            )
        except tf.errors.OpError as error:
            raise StatusError(_STATUS_CODES[error.error_code], error.message) from error
        return outputs

    def _handle(self, name: str) -> Any:
        if name not in self._handles:
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, f"Tensor {name}, specified in a signature, is unknown.")
        return self._handles[name]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[LoadedModel]:
        """Keeps the session open for one request."""
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    def acquire(self) -> None:
        """Counts one request in; :meth:`release` counts it out."""
        with self._lock:
            if self._retired:
                raise StatusError(grpc.StatusCode.NOT_FOUND, f"Version {self.version} of {self.name} was unloaded.")
            self._requests += 1

    def release(self) -> None:
        """Counts one request out; the last one of a retired model closes the session."""
        with self._lock:
            self._requests -= 1
            close = self._retired and self._requests == 0
        if close:
            self._session.close()

    def retire(self) -> None:
        """Takes no new request; the session closes when those under way are done."""
        with self._lock:
            if self._retired:
                return
            self._retired = True
            close = self._requests == 0
        if close:
            self._session.close()

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        with self._lock:
            return self._retired and self._requests == 0


def _run_options(timeout_s: float | None) -> Any:
    if timeout_s is None or timeout_s > _NO_LIMIT_S:
        return None
    options = config_pb2.RunOptions(timeout_in_ms=max(1, round(timeout_s * 1000)))
    return pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
