"""An engine without a model server: the sums of its inputs, on command slow, failing or gone.

It ships with the product so that routing, batching and failover can be tried without either framework installed.
"""

import asyncio
from collections.abc import Callable, Mapping

from gateway.core.errors import EngineFailed, EngineUnreachable
from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed, VersionState
from gateway.core.tensors import Tensor

Answer = Callable[[EngineBatch], Mapping[str, Tensor]]


class FakeEngine:
    """Answers with `answer`; what it was asked is in `batches`, and `asked` is set by each. It loads at once."""

    implementation = "fake"

    def __init__(self, name: str, answer: Answer) -> None:
        self.name = name
        self.batches: list[EngineBatch] = []
        self.asked = asyncio.Event()
        self.is_reachable = True
        self.is_obedient = True
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer
        self._held: dict[str, frozenset[int]] = {}

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """Record the batch, wait for the gate, then answer. See gateway.core.ports.Engine."""
        self._check()
        self.batches.append(batch)
        self.asked.set()
        await self.gate.wait()
        self._check()
        return self._answer(batch)

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """See gateway.core.ports.Engine."""
        self._check()
        ready = Observed(VersionState.READY)
        return {(name, version): ready for name in models for version in self._held.get(name, ())}

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """See gateway.core.ports.Engine."""
        self._check()
        if not self.is_obedient:
            raise EngineFailed(f"{self.name} was told to refuse")
        self._held = dict(desired)

    async def close(self) -> None:
        """See gateway.core.ports.Engine."""
        self.is_reachable = False

    def _check(self) -> None:
        if not self.is_reachable:
            raise EngineUnreachable(f"{self.name} is switched off")
