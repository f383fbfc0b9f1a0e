"""An engine that is told of the trace that a request belongs to.

Rules: a server's span has one parent. So an engine is told of a trace only where a batch is one request, whole; one
that holds several requests belongs to as many traces, and naming one of them would be wrong for all others
(docs/decisions/014-traces-and-the-access-log.md).
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.accounts.keeping import Accounts
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Observed
from gateway.core.tensors import Tensor


class TracedEngine:
    """See gateway.core.ports.Engine; `engine` does everything."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine = engine
        self._accounts = accounts

    @property
    def name(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._engine.name

    @property
    def endpoint(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._engine.endpoint

    @property
    def implementation(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._engine.implementation

    @property
    def address(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._engine.address

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """See gateway.core.ports.Engine. A batch of one request has that request's own mapping of inputs."""
        account = self._accounts.find(batch.inputs)
        if account is None or account.trace is None:
            return await self._engine.infer(batch)
        account.goes_alone()
        return await self._engine.infer(replace(batch, metadata=account.trace.metadata))

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """See gateway.core.ports.Engine."""
        return await self._engine.observe(models)

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """See gateway.core.ports.Engine."""
        await self._engine.serve(desired)

    async def close(self) -> None:
        """See gateway.core.ports.Engine."""
        await self._engine.close()


def traced(engines: tuple[Engine, ...], accounts: Accounts | None) -> tuple[Engine, ...]:
    """The engines, told of traces where there are any."""
    if accounts is None or not accounts.is_tracing:
        return engines
    return tuple(TracedEngine(engine, accounts) for engine in engines)
