"""Which versions are not what was published, and so are not loaded.

Rules: files are read before every load, never for what is loaded; a verdict holds for a moment, so that a mended
version is found mended at the next attempt, and one that stays damaged is not read without pause.
"""

import asyncio

from gateway.core.lifecycle import Desired, States
from gateway.core.ports import Observed, Repository, VersionState

_LIFETIME_S = 5.0


class Damage:
    """Remembers what was found."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._found: dict[tuple[str, int], tuple[float, str]] = {}
        self._wished: dict[str, set[tuple[str, int]]] = {}

    def states(self, endpoint: str) -> States:
        """The damaged versions among those that an endpoint would have to load, each with the reason."""
        wished = self._wished.get(endpoint, set())
        return {
            key: Observed(VersionState.ERROR, why) for key, (_, why) in self._found.items() if why and key in wished
        }

    async def look(self, endpoint: str, desired: Desired, observed: States) -> None:
        """Read what an endpoint would have to load, unless it was just read for another one."""
        now = asyncio.get_running_loop().time()
        wished = {(model, version) for model, versions in desired.items() for version in versions}
        to_load = wished - observed.keys()
        self._wished[endpoint] = to_load
        self._keep_wished()
        for model, version in sorted(to_load):
            since, _ = self._found.get((model, version), (-_LIFETIME_S, ""))
            if now - since >= _LIFETIME_S:
                self._found[model, version] = (now, await self._repository.find_damage(model, version))

    def leave_out(self, desired: Desired, observed: States) -> Desired:
        """`desired` without what would have to be loaded but was not found to be what was published."""
        sound = observed.keys() | {key for key, (_, why) in self._found.items() if not why}
        return {model: frozenset(v for v in versions if (model, v) in sound) for model, versions in desired.items()}

    def forget(self, endpoint: str) -> None:
        """The endpoint is gone, and loads nothing any more."""
        self._wished.pop(endpoint, None)
        self._keep_wished()

    def _keep_wished(self) -> None:
        wished = set[tuple[str, int]]().union(*self._wished.values())
        self._found = {key: found for key, found in self._found.items() if key in wished}
