"""An endpoint that nobody knows the address of: its engine's name is not to be found yet. It is down."""

from collections.abc import Mapping

from gateway.core.errors import EngineUnreachable
from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed
from gateway.core.tensors import Tensor


class Unresolved:
    """Stands for the endpoints of an engine until there is one; see gateway.core.ports.Engine."""

    def __init__(self, name: str, implementation: str, address: str) -> None:
        self.name = name
        self.implementation = implementation
        self.address = address
        self.endpoint = f"{name}/{address}"

    async def infer(self, _: EngineBatch) -> Mapping[str, Tensor]:
        """Raises EngineUnreachable."""
        raise self._error()

    async def observe(self, _: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """Raises EngineUnreachable."""
        raise self._error()

    async def serve(self, _: Mapping[str, frozenset[int]]) -> None:
        """Raises EngineUnreachable."""
        raise self._error()

    async def close(self) -> None:
        """There is nothing to give back."""

    def _error(self) -> EngineUnreachable:
        return EngineUnreachable(f"no address is known of {self.address}")
