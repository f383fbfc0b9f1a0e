"""What the endpoints of an engine count themselves, as one count for the engine.

Rules: the sum does not fall because one of them is away, is gone or was started anew: Prometheus would take that for a
new beginning of all of them. What one had counted before is kept; of one that cannot be read now the last is.
"""

from collections.abc import Iterable, Mapping

from gateway.engines.own_counters import OwnCounters

_NONE = OwnCounters(0, 0, 0)


class CounterSum:
    """Of one engine; begins anew with the gateway process that reads."""

    def __init__(self) -> None:
        self._last: dict[str, OwnCounters] = {}
        self._before = _NONE

    def add_up(self, read: Mapping[str, OwnCounters | None]) -> OwnCounters | None:
        """The sum over all endpoints' pages, by their addresses, None for one that could not be read.

        None when none could be.
        """
        for place, last in tuple(self._last.items()):  # of one that is gone, too: it may be found again
            counted = read.get(place)
            if counted is not None and counted.requests < last.requests:
                self._before = total((self._before, self._last.pop(place)))
        self._last |= {place: counted for place, counted in read.items() if counted is not None}
        if not any(read.values()):
            return None
        return total((self._before, *self._last.values()))


def total(parts: Iterable[OwnCounters]) -> OwnCounters:
    """The sum of what several count; time in queues where any of them tells it."""
    parts = tuple(parts)
    queues_s = [part.queue_s for part in parts if part.queue_s is not None]
    return OwnCounters(
        requests=sum(part.requests for part in parts),
        failures=sum(part.failures for part in parts),
        inference_s=sum(part.inference_s for part in parts),
        queue_s=sum(queues_s) if queues_s else None,
    )
