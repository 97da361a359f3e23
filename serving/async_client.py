"""The asyncio twin of :class:`serving.client.RankingClient`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.client_core import ClientSettings, ClientTLS, may_be_outdated
from serving.request import RankRequest
from serving.response import RankResponse
from serving.signature import RankSignature, Weights, predict_request, rank_responses

__all__ = ["AsyncRankingClient", "ClientTLS"]


class AsyncRankingClient:
    """Ranks candidates for users, many calls at a time on one event loop.

        async with AsyncRankingClient("127.0.0.1:8500") as client:
            responses = await asyncio.gather(*(client.rank(request) for request in requests))

    To be made inside the event loop that uses it.

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
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, tls.credentials(), options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._signatures: dict[str, RankSignature] | None = None
        self._lock = asyncio.Lock()

    async def rank(self, request: RankRequest, weights: Weights | None = None) -> RankResponse:
        """Ranks one user's candidates; arguments and errors as :meth:`serving.client.RankingClient.rank`."""
        return (await self.rank_many([request], weights))[0]

    async def rank_many(self, requests: Sequence[RankRequest], weights: Weights | None = None) -> list[RankResponse]:
        """Ranks B users' candidates in one call; as :meth:`serving.client.RankingClient.rank_many`."""
        if not requests:
            return []
        deadline = time.monotonic() + self._settings.timeout_s
        try:
            try:
                message = await self._predict(requests, weights, deadline)
            except (grpc.RpcError, ValueError) as error:
                if not may_be_outdated(error):
                    raise
                self._signatures = None
                message = await self._predict(requests, weights, deadline)
        except grpc.RpcError as error:
            raise self._settings.ranking_error(error) from error
        return rank_responses(message, len(requests))

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def __aenter__(self) -> AsyncRankingClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _predict(self, requests: Sequence[RankRequest], weights: Weights | None, deadline: float) -> Any:
        settings = self._settings
        signature = settings.signature(await self._learned(deadline), weights is not None)
        message = predict_request(
            requests,
            signature,
            model=settings.model,
            version=settings.version,
            label=settings.label,
            weights=weights,
        )
        return await self._stub.Predict(message, timeout=deadline - time.monotonic())

    async def _learned(self, deadline: float) -> dict[str, RankSignature]:
        async with self._lock:
            if self._signatures is None:
                response = await self._stub.GetModelMetadata(
                    self._settings.metadata_request(), timeout=deadline - time.monotonic()
                )
                self._signatures = self._settings.signatures(response)
            return self._signatures
