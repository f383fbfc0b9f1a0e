"""What operators do to a model: promote, roll back, change its routing. One change of a model at a time, anywhere.

Rules: a rollout is a task of this process, which ends it properly whatever happens; one whose process died is ended by
the process that leads. A rollback is one write when the version before is loaded. Knows no protocol.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from gateway.core import records
from gateway.core.claims import check_unclaimed, claimed, flipped_back, withdrawn
from gateway.core.errors import Conflict, InvalidRequest, NotFound, ServingError, Unavailable
from gateway.core.lifecycle import engines_up, has_version
from gateway.core.orphans import Orphans
from gateway.core.plan import Plan, check_engines_exist, check_plan, engines_of
from gateway.core.promotion import Promotion, wait_followed
from gateway.core.published import CandidateVersion, PublishedModel, Rollout
from gateway.core.rollout_failures import BadVersion, RolloutFailed
from gateway.core.surroundings import Surroundings

log = logging.getLogger(__name__)

_TEND_INTERVAL_S = 1.0
_MEMORY_POLLS = 20
_MEMORY_POLL_S = 0.25


class Rollouts:
    """Begins rollouts and owns those of this process."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self._beginning: set[str] = set()
        self._orphans = Orphans(around, lambda rollout: rollout in self._tasks or rollout in self._beginning)

    async def run(self) -> None:
        """End what nobody carries out any more, until cancelled; then end what runs here."""
        try:
            while True:
                await self._orphans.tend()
                await asyncio.sleep(_TEND_INTERVAL_S)
        finally:
            tasks = (*self._tasks.values(), *self._notes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def last(self, model: str) -> Rollout | None:
        """The rollout under way, or the last one."""
        known = self._around.repository.rollouts(model)
        published = self._around.keeper.models.get(model)
        if published is not None and published.candidate is not None:
            known = tuple(r for r in known if r.id == published.candidate.rollout) or known
        return known[-1] if known else None

    def problems(self, model: str) -> Mapping[int, str]:
        """What the last promote of a version found wrong with it, by version; those that are well are left out."""
        ended = [
            rollout
            for rollout in self._around.repository.rollouts(model)
            if rollout.kind == "promote" and rollout.state != "running"
        ]
        last = {rollout.version: rollout for rollout in ended}
        return {version: rollout.reason for version, rollout in last.items() if rollout.is_version_bad}

    async def wait(self, model: str, rollout: Rollout) -> Rollout:
        """Wait for the end of a rollout that was begun here; returns it as it ended."""
        task = self._tasks.get(rollout.id)
        if task is not None:
            await asyncio.wait([task])
        known = [r for r in self._around.repository.rollouts(model) if r.id == rollout.id]
        return known[-1] if known else rollout

    async def promote(self, model: str, plan: Plan) -> Rollout:
        """Begin to make a version live. Promoting the live version changes nothing.

        Raises NotFound, InvalidRequest, Conflict (a change is under way, or the version is damaged), Unavailable (an
        engine is down), RepositoryFailed.
        """
        self._around.keeper.look_at_repository()
        published = self._published(model)
        check_plan(plan, published, self._around.engines)
        check_unclaimed(published)
        name = self._around.peers.name
        if plan.version == published.live:
            await self._keep_fewer(model, plan.keep)
            return records.done(records.begun("promote", published, plan.version, name), "it was live already")
        self._check_engines(plan, published)
        damage = await self._around.repository.find_damage(model, plan.version)
        record = records.begun("promote", published, plan.version, name, phase="load")
        if damage:
            await self._record(model, records.failed(record, damage, is_version_bad=True))
            raise Conflict(f"version {plan.version} of {model} is not what was published: {damage}")
        return await self._begin(model, plan, record)

    async def roll_back(self, model: str, keep: int = 1) -> Rollout:
        """Withdraw the candidate, if there is one; else make the version before the live one live again.

        At once when it is loaded; else it is promoted. Raises NotFound, Conflict, Unavailable, RepositoryFailed.
        """
        self._around.keeper.look_at_repository()
        published = self._published(model)
        if published.candidate is not None:
            return await self._withdraw(published, published.candidate)
        target = published.previous
        if target is None or target not in published.versions:
            raise Conflict(f"no version of {model} was live before {published.live}: nothing to roll back to")
        record = records.begun("rollback", published, target, self._around.peers.name, phase="flip")
        if target in published.kept and self._is_ready(model, target):
            return await self._flip_back(published, record, keep)
        self._check_engines(Plan(target), published)
        return await self._begin(model, Plan(target, keep=keep), replace(record, phase="load"))

    async def set_routing(
        self, model: str, weights: Mapping[str, float] | None, mirror: Mapping[str, float] | None
    ) -> PublishedModel:
        """Change the engines' shares, and the mirror's; None leaves one as it is. Raises NotFound, InvalidRequest."""
        self._around.keeper.look_at_repository()
        self._published(model)
        for shares in (weights or {}, mirror or {}):
            check_engines_exist(shares, self._around.engines)
        if weights is not None and (min(weights.values(), default=0) < 0 or not 0 < sum(weights.values()) < 1e12):
            raise InvalidRequest(f"weights {dict(weights)}: expected numbers of at least 0 with a positive sum")
        if mirror is not None and not all(0 <= share <= 1 for share in mirror.values()):
            raise InvalidRequest(f"mirror {dict(mirror)}: expected shares from 0 to 1")

        def change(now: PublishedModel) -> PublishedModel:
            shares = now.weights if weights is None else dict(weights)
            for engine, share in (mirror or {}).items():
                if share and not any(weight for name, weight in shares.items() if name != engine):
                    raise InvalidRequest(f"mirror to {engine}: it answers everything itself, so no copy would be made")
            copied = now.mirror if mirror is None else {name: share for name, share in mirror.items() if share}
            return replace(now, weights=shares, mirror=copied)

        await self._around.repository.change(model, change)
        self._around.keeper.look_at_repository()
        return self._published(model)

    async def stop_keeping(self, model: str, version: int) -> None:
        """Unload a version that is only kept. Raises NotFound, RepositoryFailed."""
        self._published(model)
        await self._around.repository.change(
            model, lambda now: replace(now, kept=tuple(kept for kept in now.kept if kept != version))
        )
        self._around.keeper.look_at_repository()

    # -- running

    async def _begin(self, model: str, plan: Plan, record: Rollout) -> Rollout:
        # Known as ours before anybody can read the claim, or the tending of orphans would take it for one.
        self._beginning.add(record.id)
        try:
            await self._around.repository.change(model, lambda now: claimed(now, record, time.time()))
            self._around.keeper.look_at_repository()
            await self._record(model, record)
            promotion = Promotion(model, plan, record, self._around)
            task = asyncio.get_running_loop().create_task(self._carry_out(model, promotion))
            self._tasks[record.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(record.id, None))
        finally:
            self._beginning.discard(record.id)
        return record

    async def _carry_out(self, model: str, promotion: Promotion) -> None:
        """Run to the end, and leave nothing half done."""
        try:
            await promotion.run()
        except RolloutFailed as failure:
            await self._end_failed(model, promotion.record, str(failure), isinstance(failure, BadVersion))
        except ServingError as error:
            await self._end_failed(model, promotion.record, error.message)
        except asyncio.CancelledError:
            await self._end_failed(model, promotion.record, "the gateway that ran it was stopped")
            raise
        except Exception:
            log.exception("a bug ended a rollout of %s", model)
            await self._end_failed(model, promotion.record, "internal error; see the gateway's log")
        else:
            done = records.done(promotion.record)
            await self._record(model, done)
            note = asyncio.get_running_loop().create_task(self._note_memory(model, done))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)
            log.info("%s: version %d is live (%s)", model, done.version, dict(done.phases))

    async def _note_memory(self, model: str, done: Rollout) -> None:
        """Record what the engines take after a swap: not before it was measured anew, and then nobody has to wait."""
        at_end = self._around.read_memory()
        memory = at_end
        for _ in range(_MEMORY_POLLS):
            await asyncio.sleep(_MEMORY_POLL_S)
            memory = self._around.read_memory()
            if memory != at_end:
                break
        await self._record(model, replace(done, memory_after=memory))

    async def _record(self, model: str, rollout: Rollout) -> None:
        """Remember how a rollout stands. What was done stands even when that fails, on a full disk for example."""
        try:
            await self._around.repository.record(model, rollout)
        except ServingError as error:
            log.error("%s: rollout %s is not recorded as %s: %s", model, rollout.id, rollout.state, error.message)

    async def _end_failed(self, model: str, record: Rollout, reason: str, is_version_bad: bool = False) -> None:
        published = self._around.keeper.models.get(model)
        if published is not None and published.live == record.version and record.phase in ("flip", "drain", "unload"):
            await self._record(model, records.done(record, reason))
            return
        log.warning("%s: the rollout of version %d failed: %s", model, record.version, reason)
        self._around.events.swap_phase_done(model, "failed", max(time.time() - record.started_at, 0.0))
        try:
            await self._around.repository.change(model, lambda now: withdrawn(now, record.id))
            self._around.keeper.look_at_repository()
        except ServingError as error:
            log.error("%s: the failed rollout could not be withdrawn: %s", model, error.message)  # its claim runs out
        await self._record(model, records.failed(record, reason, is_version_bad))

    async def _flip_back(self, found: PublishedModel, record: Rollout, keep: int) -> Rollout:
        """Make a version live that is kept and ready; `found` is the model as the operator found it."""
        model, target = found.name, record.version
        started = time.perf_counter()
        await self._around.repository.change(model, lambda now: flipped_back(now, found, target, keep))
        self._around.keeper.look_at_repository()
        await wait_followed(self._around, model, target)
        seconds = time.perf_counter() - started
        self._around.events.swap_phase_done(model, "flip", seconds)
        ended = records.done(replace(record, phases={"flip": round(seconds, 4)}))
        await self._record(model, ended)
        log.info("%s: rolled back from version %d to %d", model, found.live, target)
        return ended

    async def _withdraw(self, published: PublishedModel, candidate: CandidateVersion) -> Rollout:
        record = records.begun("rollback", published, published.live, self._around.peers.name)
        await self._around.repository.change(published.name, lambda now: withdrawn(now, candidate.rollout))
        self._around.keeper.look_at_repository()
        reason = f"version {candidate.version} was withdrawn before it went live"
        ended = records.done(replace(record, from_version=candidate.version), reason)
        await self._record(published.name, ended)
        return ended

    # -- checking

    def _published(self, model: str) -> PublishedModel:
        published = self._around.keeper.models.get(model)
        if published is None:
            raise NotFound(f"unknown model {model!r}: expected one of {sorted(self._around.keeper.models)}")
        return published

    def _check_engines(self, plan: Plan, model: PublishedModel) -> None:
        wanted = engines_of(plan, model, self._around.engines)
        up = engines_up(self._around.keeper.observed)
        down = [name for name in wanted if name not in up]
        if down:
            raise Unavailable(
                f"{' and '.join(down)} cannot load it now: wait until it is up (a promote may also go on with the "
                "other engine alone, by naming it in `engines`)"
            )

    def _is_ready(self, model: str, version: int) -> bool:
        """Whether every engine that is up answers with this version, in this process's eyes."""
        published, observed = self._published(model), self._around.keeper.observed
        engines = [engine for engine in engines_up(observed) if published.is_for(version, engine)]
        return bool(engines) and all(has_version(observed, engine, (model, version)) for engine in engines)

    async def _keep_fewer(self, model: str, keep: int) -> None:
        await self._around.repository.change(model, lambda now: replace(now, kept=now.kept[:keep]))
        self._around.keeper.look_at_repository()
