"""Where the endpoints of both engines come from, as the settings say: addresses, and names that are looked up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.core.ports import Engine
from gateway.engines.addresses import ServerAddress
from gateway.engines.finder import Source
from gateway.engines.tfserving import TfServing, TfServingAddress
from gateway.engines.torchserve import TorchServe, TorchServeAddress
from gateway.engines.unresolved import Unresolved
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class EngineServers:
    """The servers of one engine. `make` connects nothing yet; it is for the event loop that will use the result."""

    engine: str
    implementation: str
    servers: tuple[ServerAddress, ...]
    make: Callable[[ServerAddress], Engine]

    def first_endpoints(self) -> Iterator[Engine]:
        """One for each address, and one that is down for each name, until its addresses are found."""
        for server in self.servers:
            if server.is_literal:
                yield self.make(server)
            else:
                yield Unresolved(self.engine, self.implementation, server.at(0))

    def sources(self, equip: Callable[[Engine], Engine]) -> Iterator[Source]:
        """The names to be looked up; each endpoint that is found goes through `equip` first."""
        for server in self.servers:
            if not server.is_literal:
                yield Source(self.engine, server, lambda found: equip(self.make(found)))


def engine_servers(settings: Settings) -> tuple[EngineServers, ...]:
    """Of TorchServe, then of TensorFlow Serving."""
    repository = settings.repository.resolve()
    as_tfserving_sees_it = settings.tfserving_repository or repository

    def make_torchserve(server: ServerAddress) -> Engine:
        inference, management = f"http://{server.at(0)}", f"http://{server.at(1)}"
        return TorchServe(TorchServeAddress(inference, management, settings.torchserve_key_file, repository))

    def make_tfserving(server: ServerAddress) -> Engine:
        return TfServing(TfServingAddress(server.at(0), settings.tfserving_implementation, as_tfserving_sees_it))

    return (
        EngineServers(TorchServe.name, TorchServe.implementation, settings.torchserve_servers, make_torchserve),
        EngineServers(TfServing.name, settings.tfserving_implementation, settings.tfserving_servers, make_tfserving),
    )
