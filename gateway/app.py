"""The composition root: makes every part and hands each what it needs. The rooms it is put together in are
`gateway.composition`.
"""

from collections.abc import Callable
from importlib.metadata import version as installed_version

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gateway.accounts.keeping import Accounts, kept, make_accounts
from gateway.accounts.traced_engine import traced
from gateway.composition.core_parts import make_core
from gateway.composition.dialect_parts import make_dialects
from gateway.composition.grpc_side import make_grpc
from gateway.composition.http_side import make_http
from gateway.composition.upkeep import Upkeep
from gateway.core.keeper import Keeper
from gateway.core.ports import Engine
from gateway.core.readiness import Notice
from gateway.endpoint_sources import engine_servers
from gateway.engines.counter_pages import CounterPages
from gateway.engines.finder import Finder
from gateway.engines.lookup import Lookups, resolve
from gateway.grpc_server import GrpcServer
from gateway.outer_edge import OuterEdge
from gateway.protocols.express import Express, InferenceRoutes
from gateway.settings import Settings


class GatewayApp:
    """The ASGI application: FastAPI with the outer edge around all of it.

    `express` answers inference past it, for a server that can; `grpc` lives as long as the application does; `notice`
    is to be given by whoever is about to stop it.
    """

    def __init__(self, fastapi: FastAPI, express: Express, grpc: GrpcServer, notice: Notice) -> None:
        self.fastapi = fastapi
        self.express = express
        self.grpc = grpc
        self.notice = notice
        self._edge = OuterEdge(fastapi)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge(scope, receive, send)


def make_engines(settings: Settings) -> tuple[Engine, ...]:
    """The endpoints of both engines, those to be found by name as one that is down; nothing is connected yet.

    Call it inside the event loop that will use them.
    """
    return tuple(endpoint for servers in engine_servers(settings) for endpoint in servers.first_endpoints())


def make_app(
    settings: Settings,
    engines: tuple[Engine, ...],
    stop: Callable[[], None],
    join_timeout_s: float = 0.0,
    counters: CounterPages | None = None,
) -> GatewayApp:
    """Wire the gateway. `stop` ends the process; it is called when a background task dies. Raises OSError.

    One of several processes takes no connection before it is ready, since the others can answer them all; it waits for
    that during `join_timeout_s`.
    """
    version = installed_version("twinserve")
    accounts = make_accounts(settings, version)
    core = make_core(settings, version, traced(engines, accounts), counters)
    notice = Notice()
    dialects = make_dialects(settings, version, core, accounts, notice)
    grpc = make_grpc(settings, core, dialects, is_port_shared=join_timeout_s > 0)
    finder = _make_finder(settings, core.keeper, accounts)
    upkeep = Upkeep(core, finder, grpc, counters, stop, join_timeout_s)
    routes = InferenceRoutes()
    fastapi = make_http(settings, version, core, dialects, routes, kept(accounts, upkeep.lifespan))
    return GatewayApp(fastapi, Express(dialects.exchange, dialects.conversation, routes), grpc, notice)


def _make_finder(settings: Settings, keeper: Keeper, accounts: Accounts | None) -> Finder:
    """Of the endpoints that are found by name; where there are none it has nothing to do."""

    def equip(engine: Engine) -> Engine:
        return traced((engine,), accounts)[0]

    sources = [source for servers in engine_servers(settings) for source in servers.sources(equip)]
    return Finder(sources, keeper, Lookups(resolve), settings.endpoint_lookup_interval_s)
