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

    @property
    def states(self) -> States:
        """The damaged versions, each with the reason."""
        return {key: Observed(VersionState.ERROR, why) for key, (_, why) in self._found.items() if why}

    async def look(self, desired: Desired, observed: States) -> None:
        """Read what would have to be loaded."""
        now = asyncio.get_running_loop().time()
        wished = {(model, version) for model, versions in desired.items() for version in versions}
        to_load = wished - observed.keys()
        self._found = {key: found for key, found in self._found.items() if key in to_load}
        for model, version in sorted(to_load):
            since, _ = self._found.get((model, version), (-_LIFETIME_S, ""))
            if now - since >= _LIFETIME_S:
                self._found[model, version] = (now, await self._repository.find_damage(model, version))

    def leave_out(self, desired: Desired, observed: States) -> Desired:
        """`desired` without what would have to be loaded but was not found to be what was published."""
        sound = observed.keys() | {key for key, (_, why) in self._found.items() if not why}
        return {model: frozenset(v for v in versions if (model, v) in sound) for model, versions in desired.items()}
