"""What the blocking and the asyncio client share: the channel's settings, the messages, and reading the answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.errors import RankingError
from serving.signature import RANK, RANK_WITH_WEIGHTS, RankSignature, UnknownColumnError

#: gRPC allows a call at most this many attempts.
MAX_ATTEMPTS = 5

#: How the server begins its answer to a request with other inputs than the signature's.
_WRONG_INPUTS = ("input size does not match signature", "Signature input alias")


@dataclasses.dataclass(frozen=True)
class ClientTLS:
    """Encrypts the connection.

    Attributes:
        root_certificates: PEM file of the authorities to trust; None trusts the system's.
        private_key: PEM file of the client's key, where the server asks for a certificate.
        certificate_chain: PEM file of the client's certificate.
        server_name: The name that the server's certificate bears, where it is not the target's host.
    """

    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The gRPC form. Raises OSError where a file cannot be read."""
        files = (self.root_certificates, self.private_key, self.certificate_chain)
        return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))


@dataclasses.dataclass(frozen=True)
class ClientSettings:
    """Where and how to ask.

    Attributes:
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

    target: str
    model: str = "skiprank"
    version: int | None = None
    label: str | None = None
    timeout_s: float = 10.0
    attempts: int = 4
    tls: ClientTLS | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ValueError(
                f"Give `version` or `label`, not both. Received: version={self.version}, label={self.label!r}."
            )
        if self.timeout_s <= 0:
            raise ValueError(f"`timeout_s` must be positive. Received: timeout_s={self.timeout_s}.")
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise ValueError(f"`attempts` must lie between 1 and {MAX_ATTEMPTS}. Received: attempts={self.attempts}.")

    def channel_options(self) -> list[tuple[str, Any]]:
        """Keep-alive, message sizes and the retry policy, as gRPC channel arguments."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A server that restarts is found again within the first retries, not after gRPC's usual second.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.service_config", json.dumps(self._service_config())),
        ]
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def _service_config(self) -> dict[str, Any]:
        method: dict[str, Any] = {"name": [{}]}
        if self.attempts > 1:
            method["retryPolicy"] = {
                "maxAttempts": self.attempts,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
        return {"methodConfig": [method]}

    def metadata_request(self) -> Any:
        """Asks for the model's signatures."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.label is not None:
            request.model_spec.version_label = self.label
        return request

    def signatures(self, response: Any) -> dict[str, RankSignature]:
        """The ranking signatures in a GetModelMetadataResponse, by name.

        Raises:
            ValueError: The model has no signature ``rank``.
        """
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        if RANK not in found.signature_def:
            names = ", ".join(sorted(found.signature_def))
            raise ValueError(f"Model {self.model!r} at {self.target} has no signature {RANK!r}; it has: {names}.")
        names_present = [name for name in (RANK, RANK_WITH_WEIGHTS) if name in found.signature_def]
        return {name: RankSignature.of(found.signature_def[name], name) for name in names_present}

    def signature(self, signatures: dict[str, RankSignature], weighted: bool) -> RankSignature:
        """The signature for a call with or without weights.

        Raises:
            ValueError: Weights are given and the model has no signature that takes them.
        """
        name = RANK_WITH_WEIGHTS if weighted else RANK
        if name not in signatures:
            raise ValueError(f"`weights` cannot be given: model {self.model!r} has no signature {name!r}.")
        return signatures[name]

    def ranking_error(self, error: grpc.RpcError) -> RankingError:
        """A failed call as this package's exception."""
        code, details = error.code(), error.details() or ""
        return RankingError(self.target, code, details)


def may_be_outdated(error: Exception) -> bool:
    """Whether a call may have failed because a version with other inputs was loaded since they were learned."""
    if isinstance(error, UnknownColumnError):
        return True
    if not isinstance(error, grpc.RpcError) or error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
        return False
    return (error.details() or "").startswith(_WRONG_INPUTS)
