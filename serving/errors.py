"""What goes wrong on the serving side, as exceptions."""

from __future__ import annotations

import grpc

#: TF Serving cuts longer error messages, so that they fit into HTTP/2 headers.
MAX_MESSAGE_BYTES = 1024


class ServingError(RuntimeError):
    """A server that cannot start, a model that cannot be loaded, a folder that is not what it should be."""


class StatusError(Exception):
    """The answer to one gRPC call when it is not OK.

    Attributes:
        code: The gRPC status code.
        message: The message as TF Serving words it, not yet cut.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


#: What is said of a server that did not answer the call itself.
_WITHOUT_ANSWER = {
    grpc.StatusCode.UNAVAILABLE: "cannot be reached:",
    grpc.StatusCode.DEADLINE_EXCEEDED: "did not answer in time:",
}


class RankingError(ServingError):
    """A ranking call that a server answered with an error, or that no server answered.

    Attributes:
        code: The gRPC status code.
        details: The server's own message.
        target: The server's address.
    """

    def __init__(self, target: str, code: grpc.StatusCode, details: str) -> None:
        what = _WITHOUT_ANSWER.get(code, "answered")
        super().__init__(f"{target} {what} {code.name}: {details}")
        self.target = target
        self.code = code
        self.details = details


def invalid_argument(message: str) -> StatusError:
    """An INVALID_ARGUMENT answer, the most frequent one."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def truncated(message: str) -> str:
    """The message as it goes out: what is longer than 1,024 bytes is cut and ends in ``...TRUNCATED``."""
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore") + "...TRUNCATED"
