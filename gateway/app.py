"""The composition root: makes every part, hands each what it needs, and owns the background tasks.

`make_app` is long because it is read as a list: every part once, after those it needs, and no decision among them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version as installed_version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from contracts.descriptors import Package, load_pool
from contracts.tfserving import load_messages
from gateway import admin
from gateway.accounts.keeping import Accounts, kept, make_accounts
from gateway.accounts.traced_engine import traced
from gateway.core.agreement import Tolerance
from gateway.core.batcher import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.errors import InvalidRequest, ServingError
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.pace import Bounds
from gateway.core.ports import Engine
from gateway.core.readiness import Notice
from gateway.core.rollouts import Rollouts
from gateway.core.router import Router
from gateway.core.surroundings import Surroundings
from gateway.core.warmup import WarmupLimits
from gateway.endpoint_sources import engine_servers
from gateway.engine_figures import make_figures
from gateway.engines.counter_pages import CounterPages
from gateway.engines.finder import Finder
from gateway.engines.lookup import Lookups, resolve
from gateway.grpc_port import GrpcPort
from gateway.grpc_server import GrpcServer
from gateway.measured_file import MeasuredFile
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.outer_edge import OuterEdge
from gateway.peers import DirectoryPeers
from gateway.platform_state import PlatformState
from gateway.protocols import classify, oip_routes, tfserving_routes, torchserve_routes, triton_repository
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.classify import PictureInputs
from gateway.protocols.conversation import Conversation, ConversationLimits
from gateway.protocols.documented_errors import with_errors
from gateway.protocols.examples import with_examples
from gateway.protocols.exchange import Exchange, ExchangeLimits, error_response
from gateway.protocols.express import Express, InferenceRoutes
from gateway.protocols.large_bodies import LargeBodies
from gateway.protocols.model_repository import ModelRepository
from gateway.protocols.oip import encode_error
from gateway.protocols.operators import Operators
from gateway.protocols.rpc.oip_service import InferenceService
from gateway.protocols.rpc.services import make_services
from gateway.protocols.rpc.tf_service import TensorFlowServices
from gateway.protocols.tfserving_rest import TensorFlowRest
from gateway.repository import DirectoryRepository
from gateway.saved_models import SavedModels
from gateway.settings import Settings

log = logging.getLogger(__name__)


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

    One of several processes takes no connection before every engine answers it, since the others can use them all; one
    that is away is waited for during `join_timeout_s`.
    """
    ledger = Ledger()
    version = installed_version("twinserve")
    accounts = make_accounts(settings, version)
    engines = traced(engines, accounts)
    read_memory = MeasuredFile(settings.engine_memory_file, dict[str, int]).read
    metrics = Metrics(ledger.usage, version, read_memory, (make_figures(settings, counters),))
    repository = DirectoryRepository(settings.repository)
    peers = DirectoryPeers(settings.repository)
    router = Router(tuple(dict.fromkeys(engine.name for engine in engines)))
    keeper = Keeper(engines, repository, peers, router, metrics, _keeper_limits(settings), ledger)
    mirror = Mirror(ledger, metrics, MirrorLimits(tolerance=_tolerance(settings)))
    inference = Inference(router, ledger, metrics, keeper.doubt, Patience(settings.patience_s), mirror)
    finder = _make_finder(settings, keeper, accounts)
    rollouts = Rollouts(Surroundings(keeper.engines, repository, keeper, peers, ledger, metrics, read_memory))
    limits = ConversationLimits(settings.default_timeout_s, settings.longest_timeout_s)
    conversation = Conversation(inference, router, metrics, limits, accounts)
    exchange = Exchange(conversation, ExchangeLimits(settings.body_limit_bytes, settings.default_timeout_s))
    notice = Notice()
    catalogue = Catalogue(keeper, router, peers, ledger.usage, notice, version, settings.batch_rows)

    large = LargeBodies(settings.default_timeout_s)
    operators = Operators(settings.read_admin_token())
    model_repository = ModelRepository(keeper, rollouts, operators)
    pool = load_pool()
    tensorflow = load_messages(pool)
    signatures = SavedModels(settings.repository, tensorflow).signatures
    services = make_services(
        pool,
        InferenceService(Package(pool, "inference"), conversation, catalogue, model_repository, large),
        TensorFlowServices(tensorflow, conversation, router, catalogue, signatures),
        catalogue,
        router,
    )
    port = GrpcPort(settings.host, settings.grpc_port, is_shared=join_timeout_s > 0)
    # Renewed twice in the time of a notice, every connection has left before its end.
    grpc = GrpcServer(port, settings.grpc_message_limit_bytes, services, settings.stop_notice_s / 2)

    express = InferenceRoutes()
    # FastAPIOffline serves the assets of /docs from its own package instead of a CDN.
    app: FastAPI = FastAPIOffline(
        title="twinserve",
        version=version,
        lifespan=kept(
            accounts, _keep(keeper, finder, rollouts, mirror, metrics, peers, grpc, counters, stop, join_timeout_s)
        ),
    )
    app.include_router(oip_routes.make_router(exchange, catalogue, express, large))
    pictures = PictureInputs(settings.image_limit_pixels)
    app.include_router(classify.make_router(exchange, pictures, express))
    app.include_router(torchserve_routes.make_router(exchange, router, catalogue, pictures))
    app.include_router(
        tfserving_routes.make_router(
            TensorFlowRest(exchange, router, catalogue, signatures, settings.default_timeout_s)
        )
    )
    state = PlatformState(keeper, rollouts, peers, ledger, read_memory, mirror)
    app.include_router(admin.make_router(state, rollouts, operators))
    app.include_router(triton_repository.make_router(model_repository))
    _add_metrics_route(app, metrics)
    _describe(app, router)
    _add_error_handlers(app)
    return GatewayApp(app, Express(exchange, conversation, express), grpc, notice)


def _make_finder(settings: Settings, keeper: Keeper, accounts: Accounts | None) -> Finder:
    """Of the endpoints that are found by name; where there are none it has nothing to do."""

    def equip(engine: Engine) -> Engine:
        return traced((engine,), accounts)[0]

    sources = [source for servers in engine_servers(settings) for source in servers.sources(equip)]
    return Finder(sources, keeper, Lookups(resolve), settings.endpoint_lookup_interval_s)


def _tolerance(settings: Settings) -> Tolerance:
    """One for golden answers and for mirrored ones: both compare engines that compute the same function."""
    return Tolerance(settings.golden_atol, settings.golden_rtol)


def _keeper_limits(settings: Settings) -> KeeperLimits:
    return KeeperLimits(
        probe_interval_s=settings.probe_interval_s,
        slow_start_s=settings.endpoint_slow_start_s,
        warmup=WarmupLimits(settings.batch_rows, tolerance=_tolerance(settings)),
        batch=BatchLimits(_pace_bounds(settings), settings.queue_rows),
    )


def _pace_bounds(settings: Settings) -> Bounds:
    return Bounds(
        most_in_flight=settings.batch_in_flight,
        most_rows=settings.batch_rows,
        latency_target_s=settings.latency_target_s,
    )


def _keep(
    keeper: Keeper,
    finder: Finder,
    rollouts: Rollouts,
    mirror: Mirror,
    metrics: Metrics,
    peers: DirectoryPeers,
    grpc: GrpcServer,
    counters: CounterPages | None,
    stop: Callable[[], None],
    join_timeout_s: float,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    def notice_death(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s died, so the gateway stops", task.get_name(), exc_info=task.exception())
            stop()

    def notice_loss(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s died; /metrics goes on without them", task.get_name(), exc_info=task.exception())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Rollouts first: they withdraw what is half done while the keeper still follows the repository.
        tasks = [
            asyncio.create_task(rollouts.run(), name="the owner of rollouts"),
            asyncio.create_task(finder.run(), name="the finder of endpoints"),
            asyncio.create_task(keeper.run(), name="the keeper"),
        ]
        for task in tasks:
            task.add_done_callback(notice_death)
        if counters is not None:
            tasks.append(asyncio.create_task(counters.run(), name="the reader of the engines' own counters"))
            tasks[-1].add_done_callback(notice_loss)  # no request is the worse for it
        try:
            await keeper.wait_ready(join_timeout_s)
            await grpc.start()
            yield
        finally:
            await grpc.stop()
            for task in tasks:
                task.cancel()
                await asyncio.wait([task])
            await mirror.close()
            await keeper.close()
            peers.close()
            metrics.flush()

    return lifespan


def _add_metrics_route(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", tags=["Prometheus"], summary="Metrics in the Prometheus text format")
    async def exposition() -> Response:
        return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


def _describe(app: FastAPI, router: Router) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")  # for whoever opens the address that `up` prints

    describe = app.openapi
    app.openapi = lambda: with_examples(with_errors(describe()), router.table.models)  # type: ignore[method-assign]


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ServingError)
    async def serving_error(_: Request, error: ServingError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def parameter_error(_: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return error_response(InvalidRequest(problems))

    @app.exception_handler(HTTPException)
    async def routing_error(request: Request, error: HTTPException) -> Response:
        message = f"{error.detail}: {request.method} {request.url.path[:200]}"
        headers = {"Content-Type": "application/json", **(error.headers or {})}
        return Response(encode_error(message), error.status_code, headers)
