"""Python's turns while a version is loaded: the threads that answer requests must not wait for the one that loads.

CPython lets a thread run on for the switch interval (5 ms) while others wait for the interpreter, and a request needs
the interpreter several times. Short turns cost all threads a little, so they last no longer than the load.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SHORT_TURN_S = 0.0005


class FairTurns:
    """Shared by all loads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = 0
        self._usual_s = sys.getswitchinterval()

    @contextmanager
    def during_load(self) -> Iterator[None]:
        """Turns are short inside; several loads may be under way at once."""
        with self._lock:
            self._loads += 1
            sys.setswitchinterval(SHORT_TURN_S)
        try:
            yield
        finally:
            with self._lock:
                self._loads -= 1
                if not self._loads:
                    sys.setswitchinterval(self._usual_s)
