"""What the dialect refuses: a canonical code by its name, and the original's message."""

from enum import Enum


class Kind(Enum):
    """The canonical status codes that reading a request can end in, by name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNIMPLEMENTED = "UNIMPLEMENTED"


class Refusal(Exception):
    """A request that says what cannot be, or not what it must."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind.name}: {self.message}"


def invalid(message: str) -> Refusal:
    """The commonest one: the request does not say what it must."""
    return Refusal(Kind.INVALID_ARGUMENT, message)
