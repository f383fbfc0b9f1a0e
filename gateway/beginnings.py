"""Which counts of requests begin at 0: Prometheus sees no increase in a counter that begins at 1.

Rules: only outcomes of which availability is made (docs/monitoring.md), and only in protocols that somebody has used:
all that there could be would be some hundred series for each version.
"""

from gateway.core.errors import (
    DeadlineExceeded,
    EngineError,
    Overloaded,
    RepositoryFailed,
    ServingError,
    Unavailable,
)
from gateway.metric_sums import LateCount

OK = "ok"
OUR_FAULTS = tuple(
    kind.outcome for kind in (ServingError, EngineError, Unavailable, Overloaded, DeadlineExceeded, RepositoryFailed)
)


class Beginnings:
    """Begins the children of `requests`, whose labels are model, version, engine, protocol, outcome."""

    def __init__(self, requests: LateCount) -> None:
        self._requests = requests
        self._places: set[tuple[str, int, str]] = set()
        self._protocols: set[str] = set()

    def version_seen(self, model: str, version: int, engine: str) -> None:
        """A version is on an engine; most often this is known."""
        if (model, version, engine) not in self._places:
            for place in ((model, version, engine), (model, version, "")):  # "": no engine was asked
                self._places.add(place)
                for protocol in self._protocols:
                    self._begin(place, protocol)

    def protocol_seen(self, protocol: str) -> None:
        """Somebody asks in a protocol; most often it is known."""
        if protocol not in self._protocols:
            self._protocols.add(protocol)
            for place in self._places:
                self._begin(place, protocol)

    def _begin(self, place: tuple[str, int, str], protocol: str) -> None:
        *_, engine = place
        for outcome in (OK, *OUR_FAULTS) if engine else OUR_FAULTS:
            self._requests.add((*place, protocol, outcome), 0)
