"""One rollout on its way: load beside the live version, compare, canary, flip, drain, unload.

Rules: the candidate in the repository is the claim to change the model; it is renewed while the rollout runs, and once
it is gone nothing more is done. Until the flip the live version is untouched; the flip is one write. Every phase and
its seconds are recorded as it ends. Loading and unloading are the keeper's: this only wishes, waits and decides.
Must not know who ordered it, nor what becomes of it when it fails.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from gateway.core.arrival import Arrival
from gateway.core.canary import judge
from gateway.core.claims import flipped, renewed
from gateway.core.errors import EngineUnreachable, ServingError, VersionLost
from gateway.core.plan import Plan, engines_of
from gateway.core.ports import Engine, VersionState
from gateway.core.published import CandidateVersion, PublishedModel, Rollout
from gateway.core.rollout_failures import BadVersion, RolloutFailed
from gateway.core.speed import COMPARED_ROWS, measure_slowdown
from gateway.core.surroundings import Surroundings
from gateway.core.tensors import Tensor
from gateway.core.warmup import tile
from gateway.core.windows import Moment, baseline, between, take_moment

log = logging.getLogger(__name__)

_RENEWAL_S = 4.0
_POLL_S = 0.05
_FOLLOW_TIMEOUT_S = 5.0


class Promotion:
    """Carries out one plan; `record` says how far it is."""

    def __init__(self, model: str, plan: Plan, record: Rollout, around: Surroundings) -> None:
        self.record = record
        self._model = model
        self._plan = plan
        self._around = around
        published = around.keeper.models.get(model)  # it may have left the repository this moment
        self._engines = engines_of(plan, published, around.engines) if published else ()
        self._renewed_at = 0.0
        self._at_start = self._moment()
        self._arrival = Arrival((model, plan.version), self._engines, around.keeper, around.peers)

    async def run(self) -> None:
        """Go through every phase. Raises RolloutFailed, ServingError; what is half done is withdrawn by the caller."""
        await self._note(memory_before=self._around.read_memory())
        with self._phase("load"):
            await self._wait(self._arrival.is_loaded, self._plan.load_timeout_s, self._arrival.why_not_ready)
        await self._note(phase="warm")
        with self._phase("warm"):
            await self._wait(self._arrival.is_ready, self._plan.load_timeout_s, self._arrival.why_not_ready)
        # Who rolls back knows what he goes back to; the version that is live now may be too sick to be compared with.
        if self.record.kind == "promote" and self.record.from_version in self._published().versions:
            await self._note(phase="compare")
            with self._phase("compare"):
                await self._compare_speed()
                # Who was lost meanwhile is not waited for; but one that is on its way back may not like the version.
                await self._wait(self._arrival.is_ready, self._plan.load_timeout_s, self._arrival.why_not_ready)
        if self._plan.canary:
            await self._run_canary()
        await self._hold_claim()
        await self._note(phase="flip")
        with self._phase("flip"):
            await self._flip()
        await self._note(phase="drain")
        await self._see_off(self.record.from_version)

    # -- waiting

    async def _wait(self, is_done: Callable[[], bool], timeout_s: float, why_not: Callable[[], str]) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if time.monotonic() > deadline:
                raise BadVersion(f"not within {timeout_s:g} s: {why_not()}")
            await asyncio.sleep(_POLL_S)
            await self._hold_claim()

    # -- comparing

    async def _compare_speed(self) -> None:
        """Refuse a version that is much slower than the live one, before a client notices. Raises RolloutFailed."""
        golden = await self._around.repository.read_golden(self._model, self._plan.version)
        versions = self._published().versions
        published, before = versions[self._plan.version], versions[self.record.from_version]
        if golden is None or before.signature != published.signature:
            return
        inputs = tile(golden.inputs, COMPARED_ROWS) if published.signature.is_batchable else golden.inputs
        pair = (self.record.from_version, self._plan.version)
        for name in self._engines:
            slowdown = await self._slowdown(name, pair, inputs)
            if slowdown is not None and slowdown > self._plan.max_slowdown:
                raise BadVersion(
                    f"{name} takes {slowdown:.1f} times as long with it as with version {self.record.from_version}; "
                    f"allowed is {self._plan.max_slowdown:g} times"
                )

    async def _slowdown(self, engine: str, pair: tuple[int, int], inputs: Mapping[str, Tensor]) -> float | None:
        """On one endpoint of an engine, for the versions are the same on all of them.

        When that one goes down meanwhile, on another. None when the version before cannot be asked anywhere.
        """
        lost: EngineUnreachable | None = None
        for endpoint in self._with_both(engine, pair):
            try:
                slowdown = await measure_slowdown(endpoint, self._model, pair, inputs, self._hold_claim)
            except VersionLost:
                raise  # the endpoint is there, and the version is not
            except EngineUnreachable as error:
                log.info("%s: %s went down while it was compared: %s", self._model, endpoint.endpoint, error.message)
                lost = error
            else:
                if slowdown is not None:
                    return slowdown
        if lost is not None:
            raise lost
        return None

    def _with_both(self, engine: str, versions: tuple[int, int]) -> list[Engine]:
        """The endpoints of an engine that have both versions."""
        observed = self._around.keeper.observed

        def has(endpoint: str, version: int) -> bool:
            seen = observed.get(endpoint, {}).get((self._model, version))
            return seen is not None and seen.state is VersionState.READY

        endpoints = self._around.keeper.endpoints(engine)
        return [one for one in endpoints if all(has(one.endpoint, version) for version in versions)]

    # -- canary

    async def _run_canary(self) -> None:
        began = self._moment()
        with self._phase("canary"):
            for share in self._plan.canary:
                await self._note(phase=f"canary {share:.0%}")
                await self._renew_claim(share)
                await self._hold_step(share, began)

    async def _hold_step(self, share: float, began: Moment) -> None:
        """One share of the traffic for as long as it takes to judge it."""
        plan = self._plan
        before = self._moment()
        since_s = time.monotonic()
        while True:
            now = self._moment()
            candidate = between(before, now, (self._model, plan.version))
            # In all the canary's time, for at a share of 100 % the live version answers nobody; where that was little,
            # because a slow canary holds up the clients, its time before the canary counts too.
            live_key = (self._model, self.record.from_version)
            live = baseline((began, self._at_start, {}), now, live_key, plan.limits.min_samples)
            judgement = judge(candidate, live, plan.limits)
            held_s = time.monotonic() - since_s
            if judgement.problem:
                raise BadVersion(f"rolled back at a share of {share:.0%}: {judgement.problem}")
            if judgement.is_enough and held_s >= plan.hold_s:
                return
            if held_s > max(10 * plan.hold_s, 60):
                raise RolloutFailed(
                    f"only {candidate.finished} requests came in {held_s:.0f} s at a share of {share:.0%}, "
                    f"too few to judge (needs {plan.limits.min_samples})"
                )
            await asyncio.sleep(min(0.25, plan.hold_s / 4 + 0.01))
            await self._hold_claim()

    def _moment(self) -> Moment:
        return take_moment(self._around.peers, self._around.ledger)

    # -- changing

    async def _flip(self) -> None:
        def flip(model: PublishedModel) -> PublishedModel:
            self._check_claim(model)
            self._check_published(model)
            return flipped(model, self._plan.version, self._plan.keep)

        await self._around.repository.change(self._model, flip)
        self._around.keeper.look_at_repository()
        await wait_followed(self._around, self._model, self._plan.version)

    async def _hold_claim(self) -> None:
        """Go on being the one who changes this model. Raises RolloutFailed once somebody ended it."""
        model = self._published()
        if self.record.phase in ("flip", "drain", "unload"):
            return
        self._check_claim(model)
        self._check_published(model)
        if time.monotonic() - self._renewed_at > _RENEWAL_S:
            await self._renew_claim()

    async def _renew_claim(self, share: float | None = None) -> None:
        """Put the end of the claim off, and change the share of the traffic unless it is None."""

        def renew(model: PublishedModel) -> PublishedModel:
            candidate = self._check_claim(model)
            share_now = candidate.share if share is None else share
            return renewed(model, replace(candidate, share=share_now), time.time())

        await self._around.repository.change(self._model, renew)
        self._around.keeper.look_at_repository()
        self._renewed_at = time.monotonic()

    def _check_claim(self, model: PublishedModel) -> CandidateVersion:
        if model.candidate is None or model.candidate.rollout != self.record.id:
            raise RolloutFailed("withdrawn: an operator rolled back, or the claim on the model ran out")
        return model.candidate

    def _check_published(self, model: PublishedModel) -> None:
        if self._plan.version not in model.versions:
            raise RolloutFailed(f"version {self._plan.version} has left the repository")

    def _published(self) -> PublishedModel:
        model = self._around.keeper.models.get(self._model)
        if model is None:
            raise RolloutFailed("the model has left the repository")
        return model

    # -- seeing the old version off

    async def _see_off(self, version: int) -> None:
        """Wait until nobody uses the old version, and until it is unloaded, unless it is kept."""
        model = self._published()
        if version in (model.live, *model.kept) or version not in model.versions:
            return
        key = (self._model, version)
        peers, keeper = self._around.peers, self._around.keeper

        def is_drained() -> bool:
            everybody = [keeper.using, *(report.using for report in peers.others().values())]
            return not any(key in held for using in everybody for held in using.values())

        def is_unloaded() -> bool:
            return not any(key in states for states in keeper.observed.values())

        try:
            with self._phase("drain"):
                await self._wait(is_drained, self._plan.drain_timeout_s, lambda: "requests still hold it")
            await self._note(phase="unload")
            with self._phase("unload"):
                await self._wait(is_unloaded, self._plan.drain_timeout_s, lambda: "an endpoint still holds it")
        except RolloutFailed as problem:
            # The new version is live all the same; the keeper goes on trying.
            self.record = replace(self.record, reason=f"version {version} is not unloaded yet: {problem}")

    # -- recording

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.record = replace(self.record, phases={**self.record.phases, name: round(seconds, 4)})
            self._around.events.swap_phase_done(self._model, name, seconds)

    async def _note(self, **changes: object) -> None:
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        try:
            await self._around.repository.record(self._model, self.record)
        except ServingError:
            return  # a full disk must not stop a rollout half way; the next note may get through


async def wait_followed(around: Surroundings, model: str, version: int) -> None:
    """Wait until every gateway process answers with this version, but not for ever on one that hangs."""
    deadline = time.monotonic() + _FOLLOW_TIMEOUT_S
    while time.monotonic() < deadline:
        if all(report.answering.get(model, version) == version for report in around.peers.others().values()):
            return
        await asyncio.sleep(_POLL_S)
