"""Rollouts that nobody carries out any more, and how they are ended.

Rules: a rollout is an orphan when its owner no longer lives, or lives but does not renew its claim, or could not write
down that it ended. Its candidate is withdrawn; before the flip it failed, after it it is done. Each process tends its
own, and the one that leads those of the dead. Must not know how a rollout is carried out.
"""

import logging
import time
from collections.abc import Callable

from gateway.core import records
from gateway.core.claims import withdrawn
from gateway.core.errors import ServingError
from gateway.core.published import CandidateVersion, PublishedModel, Rollout
from gateway.core.surroundings import Surroundings

log = logging.getLogger(__name__)


class Orphans:
    """Ends them. `is_at_work` says whether a rollout, by its id, is under way in this process."""

    def __init__(self, around: Surroundings, is_at_work: Callable[[str], bool]) -> None:
        self._around = around
        self._is_at_work = is_at_work

    async def tend(self) -> None:
        """One round over all models. Raises nothing: what could not be done is tried again."""
        leads = self._around.peers.lead("rollouts")
        for model in tuple(self._around.keeper.models.values()):
            try:
                await self._withdraw_candidate(model, leads)
                await self._end_rollouts(model.name, leads)
            except ServingError as error:
                log.error("%s: a rollout that has ended is not cleaned up: %s", model.name, error.message)

    def _sees_to(self, owner: str, leads: bool) -> bool:
        return leads or owner == self._around.peers.name

    async def _withdraw_candidate(self, model: PublishedModel, leads: bool) -> None:
        candidate = model.candidate
        if candidate is None or not self._sees_to(candidate.owner, leads) or self._is_owned(candidate):
            return
        log.warning("%s: nobody is rolling out version %d any more", model.name, candidate.version)
        await self._around.repository.change(model.name, lambda now: withdrawn(now, candidate.rollout))
        self._around.keeper.look_at_repository()

    async def _end_rollouts(self, model: str, leads: bool) -> None:
        known = self._around.repository.rollouts(model)
        running = [one for one in known if one.state == "running" and self._sees_to(one.owner, leads)]
        left = [rollout for rollout in running if not self._is_run(rollout)]
        if not left:
            return
        # Read after the owners were seen dead: one may have gone live since the model was read.
        self._around.keeper.look_at_repository()
        now = self._around.keeper.models.get(model)
        for rollout in left:
            if now is None or (now.candidate is not None and now.candidate.rollout == rollout.id):
                continue
            is_last = rollout.id == known[-1].id
            await self._around.repository.record(model, ended(rollout, now.live, is_last, self._why(rollout)))
        # Changes nothing, but every change removes what was half written by the dead.
        await self._around.repository.change(model, lambda now: now)

    def _why(self, rollout: Rollout) -> str:
        is_ours = rollout.owner == self._around.peers.name
        return "how it ended could not be written down" if is_ours else "the gateway that ran it died"

    def _is_run(self, rollout: Rollout) -> bool:
        """Whether somebody is still at it."""
        if rollout.owner == self._around.peers.name:
            return self._is_at_work(rollout.id)
        return rollout.owner in self._around.peers.others()

    def _is_owned(self, candidate: CandidateVersion) -> bool:
        """Whether somebody holds the claim. This process's own may be late, another's may not."""
        if candidate.owner == self._around.peers.name:
            return self._is_at_work(candidate.rollout)
        return candidate.owner in self._around.peers.others() and candidate.expires_at > time.time()


def ended(rollout: Rollout, live: int, is_last: bool, why: str) -> Rollout:
    """How an orphan ended, by the version that is live now: that tells only of the last rollout of the model.

    `why` is the reason of one that failed.
    """
    if live == rollout.version and is_last:
        return records.done(rollout)
    return records.failed(rollout, why)
