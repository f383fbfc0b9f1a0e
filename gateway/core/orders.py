"""What each endpoint is told to hold, where telling it is this process's part.

Rules: only the leading process tells an endpoint. What is damaged or has to wait for its turn is left out of what is
told; what any process still uses is left in. The repository was read before the others are asked what they use: what a
peer begins to use from then on is resident by a later reading. Must not know what routing makes of it.
"""

import logging
from collections.abc import Callable

from gateway.core.damage import Damage
from gateway.core.errors import EngineFailed
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import Desired, States, desired_versions, needs_change
from gateway.core.ports import Engine, Peers, Repository
from gateway.core.routes import Snapshot, plan_resident_on
from gateway.core.turns import LoadTurns

log = logging.getLogger(__name__)


class Orders:
    """Gives them, and remembers who has yet to follow."""

    def __init__(self, repository: Repository, peers: Peers, lanes: Lanes, turn_s: float) -> None:
        self._peers = peers
        self._lanes = lanes
        self._damage = Damage(repository)
        self._turns = LoadTurns(turn_s)
        self._behind: set[str] = set()

    def damaged(self, endpoint: str) -> States:
        """The versions that an endpoint lacks because they are not what was published, each with the reason."""
        return self._damage.states(endpoint)

    def is_waiting(self, endpoint: str) -> bool:
        """Whether this endpoint has to load something, and waits for another."""
        return self._turns.is_waiting(endpoint)

    def are_open(self, endpoint: str) -> bool:
        """Whether this endpoint has yet to do something, or to be told."""
        return endpoint in self._behind or self.is_waiting(endpoint)

    def leads(self, engine: Engine) -> bool:
        """Whether this process is the one that tells the endpoint what to hold."""
        return self._peers.lead(_leadership(engine))

    def forget(self, engine: Engine) -> None:
        """The endpoint is gone: if another process still finds it, that one may lead."""
        self._behind.discard(engine.endpoint)
        self._turns.forget(engine.endpoint)
        self._damage.forget(engine.endpoint)
        self._peers.stop_leading(_leadership(engine))

    async def give(
        self, engine: Engine, take_snapshot: Callable[[], Snapshot], about_to_tell: Callable[[Desired], None]
    ) -> States:
        """Tell the endpoint what to hold, if need be; returns what it says it holds.

        `about_to_tell` hears what it will be told, just before. Raises EngineUnreachable, EngineFailed.
        """
        models = frozenset(take_snapshot().models)
        observed = await engine.observe(models)
        if not self.leads(engine):
            return observed
        await self._damage.look(engine.endpoint, self._desired(engine, observed, take_snapshot()), observed)
        # Once more: while files were read, somebody may have begun to use what is not to be unloaded then.
        desired = self._damage.leave_out(self._desired(engine, observed, take_snapshot()), observed)
        if not needs_change(desired, observed):
            self._behind.discard(engine.endpoint)
            return observed
        about_to_tell(desired)
        try:
            await engine.serve(desired)
        except EngineFailed as error:
            log.error("%s does not take its versions: %s", engine.endpoint, error.message)
            return observed  # refusing what it is told costs it nothing it has
        self._behind.add(engine.endpoint)
        return await engine.observe(frozenset(take_snapshot().models))

    def _desired(self, engine: Engine, observed: States, snapshot: Snapshot) -> Desired:
        in_use = self._lanes.held(engine.endpoint).union(
            *(report.using.get(engine.endpoint, frozenset()) for report in self._peers.others().values())
        )
        desired = desired_versions(plan_resident_on(snapshot, engine.endpoint), in_use)
        return self._turns.leave_out(engine.endpoint, desired, observed, snapshot)


def _leadership(engine: Engine) -> str:
    return f"{engine.name} at {engine.address}"
