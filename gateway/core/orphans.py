"""Rollouts whose gateway process is gone, and how they are ended.

Rules: a rollout is an orphan when its owner no longer lives, or lives but does not renew its claim. Its candidate is
withdrawn; before the flip it failed, after it it is done. Only the process that leads tends. Must not know how a
rollout is carried out.
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
        """One round over all models, if this process leads. Raises nothing: what could not be done is tried again."""
        if not self._around.peers.lead("rollouts"):
            return
        for model in tuple(self._around.keeper.models.values()):
            try:
                await self._withdraw_candidate(model)
                await self._end_rollouts(model.name)
            except ServingError as error:
                log.error("%s: what a dead gateway left is not cleaned up: %s", model.name, error.message)

    async def _withdraw_candidate(self, model: PublishedModel) -> None:
        candidate = model.candidate
        if candidate is None or self._is_owned(candidate):
            return
        log.warning("%s: the gateway that was rolling out version %d is gone", model.name, candidate.version)
        await self._around.repository.change(model.name, lambda now: withdrawn(now, candidate.rollout))
        self._around.keeper.look_at_repository()

    async def _end_rollouts(self, model: str) -> None:
        known = self._around.repository.rollouts(model)
        left = [rollout for rollout in known if rollout.state == "running" and not self._is_run(rollout)]
        if not left:
            return
        # Read after the owners were seen dead: one may have gone live since the model was read.
        self._around.keeper.look_at_repository()
        now = self._around.keeper.models.get(model)
        for rollout in left:
            if now is None or (now.candidate is not None and now.candidate.rollout == rollout.id):
                continue
            await self._around.repository.record(model, ended(rollout, now.live, is_last=rollout.id == known[-1].id))
        # Changes nothing, but every change removes what was half written by the dead.
        await self._around.repository.change(model, lambda now: now)

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


def ended(rollout: Rollout, live: int, is_last: bool) -> Rollout:
    """How an orphan ended, by the version that is live now: that tells only of the last rollout of the model."""
    if live == rollout.version and is_last:
        return records.done(rollout)
    return records.failed(rollout, "the gateway that ran it died")
