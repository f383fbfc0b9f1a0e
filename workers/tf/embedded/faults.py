"""What can go wrong with a request, a load or a configuration: a canonical code and a message.

Codes are those of google.rpc.Code, which gRPC, TensorFlow and absl share by number.
"""

import logging
from enum import IntEnum

from contracts.tfserving_rest.refusals import Refusal

_LOG = logging.getLogger(__name__)


class Code(IntEnum):
    """Canonical status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Fault(Exception):
    """An answer that is an error. Each dialect has one table that says how it tells a `code`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid(message: str) -> Fault:
    """The commonest fault: the request does not say what it must."""
    return Fault(Code.INVALID_ARGUMENT, message)


def fault_of(error: Exception) -> Fault:
    """What an edge tells its client: a fault or a refusal as it is; anything else is logged, and our own (INTERNAL)."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, Refusal):
        return Fault(Code[error.kind.name], error.message)
    _LOG.error("a request failed in a way nobody foresaw", exc_info=error)
    return Fault(Code.INTERNAL, f"{type(error).__name__}: {error}")
