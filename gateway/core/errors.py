"""Everything that can go wrong with a request, said once.

Rules: a message says what was expected and what came. No status code of any protocol appears here: each dialect
has one table from these kinds to its own.
"""

LONGEST_MESSAGE = 500


class ServingError(Exception):
    """A request cannot be answered. Messages are cut short: they may quote a client.

    `outcome` is the label in metrics; `engine` and `version` are those that were asked last, if any were.
    """

    outcome = "error"
    engine = ""
    version: int | None = None

    def __init__(self, message: str) -> None:
        self.message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
        super().__init__(self.message)


class InvalidRequest(ServingError):
    """The client sent something that can never work; the same request must not be sent again."""

    outcome = "invalid"


class UnknownSignature(InvalidRequest):
    """A version was asked by a signature that it does not have."""


class Unsupported(ServingError):
    """What is asked for is well formed, and nothing that is done here."""

    outcome = "unsupported"


class Unauthenticated(ServingError):
    """The operator's token is missing or wrong."""

    outcome = "unauthenticated"


class NotFound(ServingError):
    """No such model or version."""

    outcome = "not_found"


class Conflict(ServingError):
    """What an operator asks for does not fit what is there now, or a change that is under way."""

    outcome = "conflict"


class RepositoryFailed(ServingError):
    """The shared directory cannot be read or written."""

    outcome = "repository"


class VersionLeft(NotFound):
    """The version was there when the request came and has left since; whoever named none may ask once more."""


class TooLarge(ServingError):
    """The body is over the limit."""

    outcome = "too_large"


class TooSlow(ServingError):
    """The client did not send its request in time."""

    outcome = "too_slow"


class UnknownCoding(ServingError):
    """The body is compressed in a way that is not known here."""

    outcome = "invalid"


class NotAnImage(ServingError):
    """The bytes are not a picture in a supported format."""

    outcome = "not_an_image"


class Overloaded(ServingError):
    """A queue is full; worth trying again in a moment."""

    outcome = "overloaded"
    retry_after_s = 1


class Unavailable(ServingError):
    """No engine can answer now; worth trying again in a moment."""

    outcome = "unavailable"
    retry_after_s = 1


class DeadlineExceeded(ServingError):
    """The client's time is over."""

    outcome = "deadline"


class Cancelled(ServingError):
    """Whoever asked does not wait any more."""

    outcome = "cancelled"


class EngineError(ServingError):
    """An engine did not do what it was asked to."""

    outcome = "engine_error"


class EngineUnreachable(EngineError):
    """The engine cannot be reached, or the connection broke: the engine itself is in doubt."""

    outcome = "unavailable"


class VersionLost(EngineUnreachable):
    """The engine is there, but this version on it is not: its worker died, or the engine was restarted."""


class EngineFailed(EngineError):
    """The engine answered with a failure of its own, or with something that is not the signature's."""


class EngineRejected(EngineError):
    """The engine refused this very batch (it would refuse it again); other batches are unaffected."""
