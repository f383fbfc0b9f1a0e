"""Tells whoever counts what the engines were seen to hold, and takes back what is not so any more.

Rules: what was told is remembered here and nowhere else. What routing believes changes for its own reasons: a version
about to be unloaded leaves it before the engine has let go, and an engine on trial is not in it at all. Knows no table.
"""

import logging

from gateway.core.lifecycle import LaneKey, States
from gateway.core.ports import Engine, Events

log = logging.getLogger(__name__)


class Sightings:
    """What was last told of each engine."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told: dict[str, States] = {}

    def tell(self, engine: Engine, seen: States) -> None:
        """The engine is up and holds exactly this."""
        self._events.engine_seen(engine.name, engine.implementation, is_up=True)
        told = self._told.get(engine.name, {})
        for (model, version), observed in seen.items():
            self._events.version_seen(model, version, engine.name, observed.state)
            if told.get((model, version)) != observed:
                log.info(
                    "%s version %d on %s: %s %s", model, version, engine.name, observed.state.value, observed.reason
                )
        for model, version in told.keys() - seen.keys():
            self._events.version_seen(model, version, engine.name, None)
        self._told[engine.name] = seen

    def tell_down(self, engine: Engine) -> None:
        """The engine does not answer, so nothing is known to be on it."""
        self._events.engine_seen(engine.name, engine.implementation, is_up=False)
        for model, version in self._told.pop(engine.name, {}):
            self._events.version_seen(model, version, engine.name, None)

    def tell_gone(self, lane: LaneKey) -> None:
        """One version on an engine did not answer, until it is seen again."""
        told = self._told.get(lane.engine, {})
        key = (lane.model, lane.version)
        if key in told:
            self._told[lane.engine] = {other: observed for other, observed in told.items() if other != key}
            self._events.version_seen(lane.model, lane.version, lane.engine, None)
