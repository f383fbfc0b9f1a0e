"""The one table from what went wrong to an HTTP status code."""

from gateway.core import errors

STATUS: dict[type[errors.ServingError], int] = {
    errors.InvalidRequest: 400,
    errors.UnknownSignature: 400,
    errors.EngineRejected: 400,
    errors.Unauthenticated: 401,
    errors.NotFound: 404,
    errors.VersionLeft: 404,
    errors.TooSlow: 408,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.NotAnImage: 415,
    errors.UnknownCoding: 415,
    errors.Overloaded: 429,
    errors.Cancelled: 499,  # nobody reads it; nginx's number for a client that went away
    errors.RepositoryFailed: 500,
    errors.Unsupported: 501,
    errors.EngineFailed: 502,
    errors.EngineUnreachable: 503,
    errors.VersionLost: 503,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
}


def status_of(error: errors.ServingError) -> int:
    """The HTTP status code (RFC 9110 section 15) for an error of the core; 500 for a kind the table forgot."""
    return STATUS.get(type(error), 500)


def headers_of(error: errors.ServingError) -> dict[str, str]:
    """Headers that belong to the status: when to try again (RFC 9110 section 10.2.3), how to authenticate, what is
    understood (section 12.5.3)."""
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.TooLarge | errors.TooSlow):
        return {"Connection": "close"}  # the rest of the body is not waited for
    if isinstance(error, errors.UnknownCoding):
        return {"Accept-Encoding": "gzip, deflate"}
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {}
