"""Tells whoever counts what the endpoints were seen to hold, and takes back what is not so any more.

Rules: what was told is remembered here and nowhere else. What routing believes changes for its own reasons: a version
about to be unloaded leaves it before the endpoint has let go, and an endpoint on trial is not in it at all. Of an
engine the best is told that its endpoints are or have made of a version. Knows no table.
"""

import logging
from collections.abc import Iterable, Mapping

from gateway.core.lifecycle import LaneKey, States, best_seen
from gateway.core.ports import Engine, Events, engine_of

log = logging.getLogger(__name__)


class Sightings:
    """What was last told of each endpoint."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told: dict[str, States] = {}

    def tell(self, engine: Engine, seen: States) -> None:
        """The endpoint is up and holds exactly this."""
        endpoint = engine.endpoint
        told = self._told.get(endpoint, {})
        self._told[endpoint] = seen
        self._events.engine_seen(engine.name, engine.implementation, is_up=True)
        self._events.endpoint_seen(endpoint, is_up=True)
        for (model, version), observed in seen.items():
            if told.get((model, version)) != observed:
                log.info("%s version %d on %s: %s %s", model, version, endpoint, observed.state.value, observed.reason)
        self._tell_versions(engine.name, {**told, **seen})

    def tell_down(self, engine: Engine) -> None:
        """The endpoint does not answer, so nothing is known to be on it."""
        self._events.endpoint_seen(engine.endpoint, is_up=False)
        self._take_back(engine)

    def tell_left(self, engine: Engine) -> None:
        """The endpoint is not there any more."""
        self._events.endpoint_left(engine.endpoint)
        self._take_back(engine)

    def tell_gone(self, lane: LaneKey) -> None:
        """One version on an endpoint did not answer, until it is seen again."""
        told = self._told.get(lane.endpoint, {})
        key = (lane.model, lane.version)
        if key in told:
            self._told[lane.endpoint] = {other: observed for other, observed in told.items() if other != key}
            self._tell_versions(lane.engine, [key])

    def _take_back(self, engine: Engine) -> None:
        told = self._told.pop(engine.endpoint, {})
        self._events.engine_seen(engine.name, engine.implementation, is_up=bool(self._told_of(engine.name)))
        self._tell_versions(engine.name, told)

    def _told_of(self, engine: str) -> Mapping[str, States]:
        return {endpoint: states for endpoint, states in self._told.items() if engine_of(endpoint) == engine}

    def _tell_versions(self, engine: str, keys: Iterable[tuple[str, int]]) -> None:
        told = self._told_of(engine)
        for model, version in keys:
            seen = best_seen(told, model, version)
            self._events.version_seen(model, version, engine, None if seen is None else seen.state)
