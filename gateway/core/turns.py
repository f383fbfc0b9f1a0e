"""Endpoints that answer clients load a new version one after the other: together they would take the machine from those
clients for as long, and of several endpoints one at least is always at full pace.

Rules: the order is that of the endpoints, so that every gateway process keeps the same one without asking; an endpoint
waits for those before it that are up, and not for ever. One that answers nobody loads at once.
"""

import asyncio

from gateway.core.lifecycle import SETTLED, Desired, States
from gateway.core.routes import Snapshot, plan_lanes, plan_resident_on

Key = tuple[str, int]


class LoadTurns:
    """Knows which loads wait, and since when; none waits for longer than `longest_s` seconds for each one before it."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._since: dict[tuple[str, Key], float] = {}

    def is_waiting(self, endpoint: str) -> bool:
        """Whether this endpoint has to load something, and waits for another."""
        return any(waiting == endpoint for waiting, _ in self._since)

    def forget(self, endpoint: str) -> None:
        """It is gone."""
        self._since = {key: since for key, since in self._since.items() if key[0] != endpoint}

    def leave_out(self, endpoint: str, desired: Desired, held: States, snapshot: Snapshot) -> Desired:
        """`desired` without what this endpoint would have to load but one before it has yet to.

        `held` is what this endpoint says it holds.
        """
        now = asyncio.get_running_loop().time()
        answering = {lane.endpoint for lane in plan_lanes(snapshot)}
        names = list(snapshot.endpoints)
        before = names[: names.index(endpoint)] if endpoint in answering else []
        residents = {name: plan_resident_on(snapshot, name) for name in before if name in answering}
        waits = {
            (model, version)
            for model, versions in desired.items()
            for version in versions
            if (model, version) not in held
            and any(
                version in resident.get(model, ())
                and not _is_settled(snapshot.observed.get(name, {}), (model, version))
                for name, resident in residents.items()
            )
        }
        others = {key: since for key, since in self._since.items() if key[0] != endpoint}
        mine = {(endpoint, key): self._since.get((endpoint, key), now) for key in waits}
        self._since = others | mine
        longest_s = self._longest_s * len(residents)
        waiting = {key for (_, key), since in mine.items() if now - since < longest_s}
        return {
            model: frozenset(v for v in versions if (model, v) not in waiting) for model, versions in desired.items()
        }


def _is_settled(states: States, key: Key) -> bool:
    """One that could not be reached may have died of the version: the next one waits until more is known."""
    seen = states.get(key)
    return seen is not None and seen.state in SETTLED and not seen.may_be_endpoints
