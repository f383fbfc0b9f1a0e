"""What leaves a `with` block by an exception is counted once, as a failed request."""

import asyncio
import logging
from collections.abc import Callable

from gateway.core.errors import Cancelled, ServingError
from gateway.protocols.witness import Account

log = logging.getLogger(__name__)

CountFailure = Callable[[str, str, str | None, ServingError, float, Account | None], None]
"""Called with protocol, model, version as the client wrote it, what went wrong, when it began, and who tells of it."""

Asked = tuple[str, str, str | None]
"""Protocol, model, and the version as the client wrote it."""


class Counting:
    """See gateway.protocols.conversation.Conversation.counting. A generator would do it in five times the time."""

    __slots__ = ("_account", "_asked", "_began", "_count_failure")

    def __init__(self, count_failure: CountFailure, asked: Asked, began: float, account: Account | None) -> None:
        self._count_failure = count_failure
        self._asked = asked
        self._began = began
        self._account = account

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if isinstance(error, ServingError):
            self._count(error)
        elif isinstance(error, asyncio.CancelledError):
            self._count(Cancelled("nobody waits for the answer any more"))
        elif isinstance(error, Exception):
            log.error("a bug kept a request from being answered", exc_info=error)
            bug = ServingError("internal error; see the gateway's log")
            self._count(bug)
            raise bug from error

    def _count(self, error: ServingError) -> None:
        self._count_failure(*self._asked, error, self._began, self._account)
