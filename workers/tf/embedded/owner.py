"""Whoever starts a thread must notice its death: here all threads have one owner, and it outlives them."""

import threading
from collections.abc import Callable


class Owner:
    """Starts the threads of the process and waits for the end: asked for, or forced by a thread that died."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._reason: str | None = None

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a thread of its own. When it returns or raises before the stop, the process must end."""

        def watched() -> None:
            ending = "ended"
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the edge of a thread: the owner must hear of everything
                ending = f"died of {type(error).__name__}: {error}"
            if not self.is_stopping:
                self.stop(f'thread "{name}" {ending}')

        threading.Thread(target=watched, name=name, daemon=True).start()

    def stop(self, reason: str | None = None) -> None:
        """Let wait() return; `reason` says what went wrong, None that this was asked for. The first call counts."""
        if not self.is_stopping:
            self._reason = reason
            self._stopping.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the stop, at most `timeout_s`; True when it has come."""
        return self._stopping.wait(timeout_s)

    @property
    def reason(self) -> str | None:
        """Why the process must end, when it was not asked to."""
        return self._reason
