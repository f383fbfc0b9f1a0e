"""The composition root: makes every part, hands each what it needs, and owns the background tasks."""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version as installed_version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import admin
from gateway.core.agreement import Tolerance
from gateway.core.batch_plan import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.errors import InvalidRequest, ServingError
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.ports import Engine
from gateway.core.rollouts import Rollouts
from gateway.core.router import Router
from gateway.core.surroundings import Surroundings
from gateway.core.warmup import WarmupLimits
from gateway.engine_memory import EngineMemory
from gateway.engines.tfserving import TfServing, TfServingAddress
from gateway.engines.torchserve import TorchServe, TorchServeAddress
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.peers import DirectoryPeers
from gateway.platform_state import PlatformState
from gateway.protocols import classify, oip_routes, triton_repository
from gateway.protocols.exchange import REQUEST_ID, Exchange, ExchangeLimits, error_response
from gateway.protocols.oip import encode_error
from gateway.protocols.operators import Operators
from gateway.repository import DirectoryRepository
from gateway.settings import Settings

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def make_engines(settings: Settings) -> tuple[Engine, ...]:
    """The two engines, not yet connected; call it inside the event loop that will use them."""
    repository = settings.repository.resolve()
    torchserve = TorchServe(
        TorchServeAddress(
            inference_url=f"http://{settings.torchserve_host}:{settings.torchserve_inference_port}",
            management_url=f"http://{settings.torchserve_host}:{settings.torchserve_management_port}",
            key_file=settings.torchserve_key_file,
            repository=repository,
        )
    )
    tfserving = TfServing(
        TfServingAddress(
            target=f"{settings.tfserving_host}:{settings.tfserving_grpc_port}",
            implementation=settings.tfserving_implementation,
            repository=settings.tfserving_repository or repository,
        )
    )
    return torchserve, tfserving


def make_app(
    settings: Settings, engines: tuple[Engine, ...], stop: Callable[[], None], join_timeout_s: float = 0.0
) -> FastAPI:
    """Wire the gateway. `stop` ends the process; it is called when a background task dies. Raises OSError.

    One of several processes takes no connection before it can answer, or `join_timeout_s` is over: the others can.
    """
    metrics = Metrics()
    ledger = Ledger()
    repository = DirectoryRepository(settings.repository)
    peers = DirectoryPeers(settings.repository)
    router = Router(tuple(engine.name for engine in engines))
    keeper = Keeper(engines, repository, peers, router, metrics, _keeper_limits(settings), ledger)
    mirror = Mirror(ledger, metrics, MirrorLimits(tolerance=_tolerance(settings)))
    inference = Inference(router, ledger, metrics, keeper.doubt, Patience(settings.patience_s), mirror)
    memory = EngineMemory(settings.engine_memory_file)
    by_name = {engine.name: engine for engine in engines}
    rollouts = Rollouts(Surroundings(by_name, repository, keeper, peers, ledger, metrics, memory.read))
    exchange = Exchange(
        inference,
        router,
        metrics,
        ExchangeLimits(settings.body_limit_bytes, settings.default_timeout_s, settings.longest_timeout_s),
    )
    version = installed_version("twinserve")

    # FastAPIOffline serves the assets of /docs from its own package instead of a CDN.
    app: FastAPI = FastAPIOffline(
        title="twinserve", version=version, lifespan=_keep(keeper, rollouts, mirror, peers, stop, join_timeout_s)
    )
    app.include_router(oip_routes.make_router(exchange, router, keeper, version))
    app.include_router(classify.make_router(exchange, settings.image_limit_pixels))
    operators = Operators(settings.read_admin_token())
    state = PlatformState(keeper, rollouts, peers, ledger, memory, mirror)
    app.include_router(admin.make_router(state, rollouts, operators))
    app.include_router(triton_repository.make_router(keeper, rollouts, operators))
    _add_metrics_route(app, metrics)
    _add_error_handlers(app)
    app.add_middleware(OuterEdge)
    return app


def _tolerance(settings: Settings) -> Tolerance:
    """One for golden answers and for mirrored ones: both compare engines that compute the same function."""
    return Tolerance(settings.golden_atol, settings.golden_rtol)


def _keeper_limits(settings: Settings) -> KeeperLimits:
    return KeeperLimits(
        probe_interval_s=settings.probe_interval_s,
        warmup=WarmupLimits(settings.batch_rows, tolerance=_tolerance(settings)),
        batch=BatchLimits(settings.batch_in_flight, settings.batch_rows, settings.queue_rows),
    )


def _keep(
    keeper: Keeper,
    rollouts: Rollouts,
    mirror: Mirror,
    peers: DirectoryPeers,
    stop: Callable[[], None],
    join_timeout_s: float,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    def notice_death(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s died, so the gateway stops", task.get_name(), exc_info=task.exception())
            stop()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Rollouts first: they withdraw what is half done while the keeper still follows the repository.
        tasks = [
            asyncio.create_task(rollouts.run(), name="the owner of rollouts"),
            asyncio.create_task(keeper.run(), name="the keeper"),
        ]
        for task in tasks:
            task.add_done_callback(notice_death)
        try:
            await keeper.wait_can_answer(join_timeout_s)
            yield
        finally:
            for task in tasks:
                task.cancel()
                await asyncio.wait([task])
            await mirror.close()
            await keeper.close()
            peers.close()

    return lifespan


def _add_metrics_route(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", tags=["Prometheus"], summary="Metrics in the Prometheus text format")
    async def exposition() -> Response:
        return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


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


class OuterEdge:
    """Gives every answer an X-Request-Id (the client's own when it is a printable word), and bugs an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id

        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if has_started:
                raise
            log.exception("a bug answered 500")
            await error_response(ServingError("internal error; see the gateway's log"))(scope, receive, send_with_id)
