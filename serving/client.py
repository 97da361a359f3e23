"""The blocking gRPC client of the ranking call; it talks to TF Serving and to the embedded server alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.client_core import ClientSettings, ClientTLS, may_be_outdated
from serving.request import RankRequest
from serving.response import RankResponse
from serving.signature import RANK, RankSignature, Weights, predict_request, rank_responses

__all__ = ["ClientTLS", "RankingClient"]


class RankingClient:
    """Ranks candidates for users.

        with RankingClient("127.0.0.1:8500") as client:
            response = client.rank(request)

    Safe to use from several threads. What the model takes is learned once, by GetModelMetadata, and again when a new
    version takes other inputs.

    Args:
        target: ``host:port``.
        model: The model's name.
        version: Asks for this version; None for the latest.
        label: Asks for the version with this label.
        timeout_s: The deadline of a call with all its attempts, seconds.
        attempts: How often a call is sent while the server is UNAVAILABLE, from 1 to 5; nothing else is retried.
        tls: Encrypts the connection.

    Raises:
        ValueError: Both a version and a label, or a number out of its bounds.
    """

    def __init__(
        self,
        target: str,
        model: str = "skiprank",
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = 10.0,
        attempts: int = 4,
        tls: ClientTLS | None = None,
    ) -> None:
        self._settings = ClientSettings(target, model, version, label, timeout_s, attempts, tls)
        options = self._settings.channel_options()
        if tls is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, tls.credentials(), options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._signatures: dict[str, RankSignature] | None = None
        self._lock = threading.Lock()

    @property
    def signature(self) -> RankSignature:
        """What the model's ``rank`` takes; asks the server the first time.

        Raises:
            RankingError: The server answered with an error, or not at all.
            ValueError: The model has no signature ``rank``.
        """
        return self._learned(time.monotonic() + self._settings.timeout_s)[RANK]

    def rank(self, request: RankRequest, weights: Weights | None = None) -> RankResponse:
        """Ranks one user's candidates.

        Args:
            request: The user, the history, the candidates.
            weights: Fusion weights (evv, fvv, gvv) in the model's place, by order or by name.

        Raises:
            RankingError: The server answered with an error, or not at all within the deadline.
            ValueError: The request has a column that the model does not take, or the weights are not three numbers.
        """
        return self.rank_many([request], weights)[0]

    def rank_many(self, requests: Sequence[RankRequest], weights: Weights | None = None) -> list[RankResponse]:
        """Ranks B users' candidates in one call; the answers are those of B single calls.

        Args:
            requests: One request per user; histories and candidate lists may differ in length.
            weights: Fusion weights for all of them.

        Raises:
            RankingError, ValueError: As :meth:`rank`.
        """
        if not requests:
            return []
        deadline = time.monotonic() + self._settings.timeout_s
        try:
            try:
                message = self._predict(requests, weights, deadline)
            except (grpc.RpcError, ValueError) as error:
                if not may_be_outdated(error):
                    raise
                with self._lock:
                    self._signatures = None
                message = self._predict(requests, weights, deadline)
        except grpc.RpcError as error:
            raise self._settings.ranking_error(error) from error
        return rank_responses(message, len(requests))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> RankingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, requests: Sequence[RankRequest], weights: Weights | None, deadline: float) -> Any:
        settings = self._settings
        signature = settings.signature(self._learned(deadline), weights is not None)
        message = predict_request(
            requests,
            signature,
            model=settings.model,
            version=settings.version,
            label=settings.label,
            weights=weights,
        )
        return self._stub.Predict(message, timeout=deadline - time.monotonic())

    def _learned(self, deadline: float) -> dict[str, RankSignature]:
        with self._lock:
            if self._signatures is None:
                try:
                    response = self._stub.GetModelMetadata(
                        self._settings.metadata_request(), timeout=deadline - time.monotonic()
                    )
                except grpc.RpcError as error:
                    raise self._settings.ranking_error(error) from error
                self._signatures = self._settings.signatures(response)
            return self._signatures
