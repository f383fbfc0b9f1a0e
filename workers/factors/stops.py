"""Where a breakpoint inside a model stops, and whether the values there can be read."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from contracts.findings import Finding
from workers.factors.task import attempt

PASSES = 3
WATCHED = "features"
"""The local variable of the model that is looked at when it stops."""

_HOW = f"breakpoint() in the forward pass, sys.breakpointhook counts; {PASSES} passes once the graph, if any, is made"
_READ_HOW = f"at the stop, the numbers of the local variable `{WATCHED}` are asked for"


class Stops:
    """Counts stops; `can_read` tells whether a value is there to be read as numbers."""

    def __init__(self, can_read: Callable[[Any], bool]) -> None:
        self._can_read = can_read
        self.count = 0
        self.readable = 0

    def stop(self, *_: object, **__: object) -> None:
        """What sys.breakpointhook is while counting."""
        # A compiler may put frames of its own between the model and us.
        frame = sys._getframe(1)
        while frame.f_back is not None and WATCHED not in frame.f_locals:
            frame = frame.f_back
        self.count += 1
        self.readable += bool(WATCHED in frame.f_locals and self._can_read(frame.f_locals[WATCHED]))

    def forget(self) -> None:
        """Count from the beginning."""
        self.count = self.readable = 0


def measure_stops(ways: Mapping[str, Callable[[], Callable[[], object]]], stops: Stops) -> Iterator[Finding]:
    """For each way of running the model: stops while its graph is made, stops later, and what can be read.

    A way makes what runs one pass of the model; it may stop while it does.
    """
    with _hooked(stops):
        for name, make in ways.items():
            ready: list[Callable[[], object]] = []
            stops.forget()
            making = functools.partial(_made, make, ready, stops)
            yield attempt(f"{name}: stops while it is made", "times", _HOW, making)
            if ready:
                stops.forget()
                passing = functools.partial(_passed, ready[0], stops)
                yield attempt(f"{name}: stops in {PASSES} passes", "times", _HOW, passing)
                yield Finding(f"{name}: values can be read", _READ_HOW, _readable(stops))


def _made(make: Callable[[], Callable[[], object]], ready: list[Callable[[], object]], stops: Stops) -> float:
    ready.append(make())
    return stops.count


def _passed(run: Callable[[], object], stops: Stops) -> float:
    for _ in range(PASSES):
        run()
    return stops.count


def _readable(stops: Stops) -> str:
    if not stops.count:
        return "no stop"
    return "yes" if stops.readable == stops.count else "no"


@contextmanager
def _hooked(stops: Stops) -> Iterator[None]:
    usual, sys.breakpointhook = sys.breakpointhook, stops.stop
    try:
        yield
    finally:
        sys.breakpointhook = usual
