"""Whether an endpoint may take part in routing: one that was lost, or came later, or owes an answer for too long, is
tried first.

Rules: a lost endpoint waits until every live version is settled on it; then, like a silent one, it must answer an
inference of ours for each live version it has.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.errors import DeadlineExceeded, EngineRejected, EngineUnreachable
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import SETTLED, States
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, VersionState
from gateway.core.published import PublishedModel
from gateway.core.tensors import Signature, Tensor


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """Seconds without an answer that make an endpoint suspect, and seconds it has to answer a trial."""

    silence_s: float = 3.0
    timeout_s: float = 2.0


class Trials:
    """Knows which endpoints are on trial."""

    def __init__(self, lanes: Lanes, limits: TrialLimits) -> None:
        self._lanes = lanes
        self._limits = limits
        self._on_trial: set[str] = set()

    def begin(self, endpoint: str) -> None:
        """It was lost, or is new, and has to prove itself before it takes part."""
        self._on_trial.add(endpoint)

    def forget(self, endpoint: str) -> None:
        """It is gone. Idempotent."""
        self._on_trial.discard(endpoint)

    def is_on(self, endpoint: str) -> bool:
        return endpoint in self._on_trial

    async def may_take_part(self, engine: Engine, models: Mapping[str, PublishedModel], observed: States) -> bool:
        """Try the engine out where that is due. Raises EngineError when it does not answer."""
        if engine.endpoint in self._on_trial:
            live = [
                observed.get((model.name, model.live))
                for model in models.values()
                if model.is_for(model.live, engine.name)
            ]
            if any(seen is None or seen.state not in SETTLED for seen in live):
                return False
        elif self._lanes.longest_silence_s(engine.endpoint) <= self._limits.silence_s:
            return True
        for model in models.values():
            seen = observed.get((model.name, model.live))
            if seen is not None and seen.state is VersionState.READY:
                await self._try_out(engine, model)
        self._on_trial.discard(engine.endpoint)
        self._lanes.endpoint_answered(engine.endpoint)
        return True

    async def _try_out(self, engine: Engine, model: PublishedModel) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.timeout_s
        inputs = _zeros(model.versions[model.live].signature)
        try:
            await engine.infer(EngineBatch(model.name, model.live, inputs, deadline))
        except EngineRejected:
            return  # zeros are nothing to it, but it answers
        except DeadlineExceeded as error:
            waited = f"{self._limits.timeout_s:g} s"
            raise EngineUnreachable(f"{engine.endpoint} did not answer a trial inference in {waited}") from error


def _zeros(signature: Signature) -> Mapping[str, Tensor]:
    """One row of nothing."""
    return {spec.name: spec.zeros([max(size, 1) for size in spec.shape]) for spec in signature.inputs}
