"""The FastAPI application: every dialect's routes, what operators use, its documentation, and how errors look."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway import admin
from gateway.accounts.keeping import Lifespan
from gateway.composition.core_parts import CoreParts
from gateway.composition.dialect_parts import DialectParts
from gateway.core.errors import InvalidRequest, ServingError
from gateway.core.router import Router
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.platform_state import PlatformState
from gateway.protocols import classify, oip_routes, tfserving_routes, torchserve_routes, triton_repository
from gateway.protocols.classify import PictureInputs
from gateway.protocols.documented_errors import with_errors
from gateway.protocols.examples import with_examples
from gateway.protocols.exchange import error_response
from gateway.protocols.express import InferenceRoutes
from gateway.protocols.oip import encode_error
from gateway.protocols.tfserving_rest import TensorFlowRest
from gateway.settings import Settings


def make_http(
    settings: Settings,
    version: str,
    core: CoreParts,
    dialects: DialectParts,
    express: InferenceRoutes,
    lifespan: Lifespan,
) -> FastAPI:
    """The application. The routes of inference are put into `express`, too."""
    # FastAPIOffline serves the assets of /docs from its own package instead of a CDN.
    app: FastAPI = FastAPIOffline(title="twinserve", version=version, lifespan=lifespan)
    exchange, catalogue, router = dialects.exchange, dialects.catalogue, core.router
    pictures = PictureInputs(settings.image_limit_pixels)
    signatures = dialects.saved_models.signatures
    tensorflow = TensorFlowRest(exchange, router, catalogue, signatures, settings.default_timeout_s)
    state = PlatformState(core.keeper, core.rollouts, core.peers, core.ledger, core.read_memory, core.mirror)
    # In the order in which a path is looked up, and in which /docs shows them.
    for routes in (
        oip_routes.make_router(exchange, catalogue, express, dialects.large),
        classify.make_router(exchange, pictures, express),
        torchserve_routes.make_router(exchange, router, catalogue, pictures),
        tfserving_routes.make_router(tensorflow),
        admin.make_router(state, core.rollouts, dialects.operators),
        triton_repository.make_router(dialects.model_repository),
    ):
        app.include_router(routes)
    _add_metrics_route(app, core.metrics)
    _describe(app, router)
    _add_error_handlers(app)
    return app


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
