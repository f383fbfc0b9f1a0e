"""The one table from what went wrong to a gRPC status code, beside the one for HTTP."""

import grpc

from gateway.core import errors

_STATUS: dict[type[errors.ServingError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownSignature: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EngineRejected: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotAnImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownCoding: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionLeft: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.EngineUnreachable: grpc.StatusCode.UNAVAILABLE,
    errors.VersionLost: grpc.StatusCode.UNAVAILABLE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.EngineFailed: grpc.StatusCode.INTERNAL,
    errors.RepositoryFailed: grpc.StatusCode.INTERNAL,
}
OURS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Codes for what is not the client's fault."""


def status_of(error: errors.ServingError) -> grpc.StatusCode:
    """The status code (grpc.io, "Status codes and their use in gRPC"); INTERNAL for a kind the table forgot."""
    return _STATUS.get(type(error), grpc.StatusCode.INTERNAL)


def metadata_of(error: errors.ServingError) -> dict[str, str]:
    """Trailing metadata that belongs to the status: who was asked, and when to try again (seconds)."""
    engine = {"x-engine": error.engine} if error.engine else {}
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        return {**engine, "retry-after": str(error.retry_after_s)}
    return engine
