"""An engine without a model server: the sums of its inputs, on command slow, failing or gone.

It ships with the product so that routing, batching and failover can be tried without either framework installed.
"""

import asyncio
from collections.abc import Callable, Mapping

from gateway.core.errors import DeadlineExceeded, EngineFailed, EngineUnreachable
from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed, VersionState
from gateway.core.tensors import Tensor

Answer = Callable[[EngineBatch], Mapping[str, Tensor]]


class FakeEngine:
    """Answers with `answer`; what it was asked is in `batches`, and `asked` is set by each. It loads at once.

    `endpoint` is for engines of which there are several; the only one is called as its engine.
    """

    implementation = "fake"

    def __init__(self, name: str, answer: Answer, endpoint: str = "") -> None:
        self.name = name
        self.endpoint = endpoint or name
        self.address = f"nowhere/{self.endpoint}"
        self.batches: list[EngineBatch] = []
        self.asked = asyncio.Event()
        self.is_reachable = True
        self.is_obedient = True
        self.is_loading = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer = answer
        self._held: dict[str, frozenset[int]] = {}
        self._ready: set[tuple[str, int]] = set()

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """Record the batch, wait for the gate, then answer. See gateway.core.ports.Engine."""
        self._check()
        self.batches.append(batch)
        self.asked.set()
        try:
            async with asyncio.timeout_at(batch.deadline):
                await self.gate.wait()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.endpoint} is told to be slow") from error
        self._check()
        return self.answer(batch)

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """See gateway.core.ports.Engine."""
        self._check()
        new = Observed(VersionState.LOADING if self.is_loading else VersionState.READY)
        held = {(name, version) for name in models for version in self._held.get(name, ())}
        self._ready = {key for key in held if key in self._ready or not self.is_loading}
        return {key: Observed(VersionState.READY) if key in self._ready else new for key in held}

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """See gateway.core.ports.Engine. Models that are not named stay, as TorchServe's do."""
        self._check()
        if not self.is_obedient:
            raise EngineFailed(f"{self.endpoint} was told to refuse")
        self._held.update(desired)

    async def close(self) -> None:
        """See gateway.core.ports.Engine."""
        self.is_reachable = False

    def restart(self) -> None:
        """Forget what it held."""
        self._held.clear()
        self._ready.clear()

    def _check(self) -> None:
        if not self.is_reachable:
            raise EngineUnreachable(f"{self.endpoint} is switched off")
