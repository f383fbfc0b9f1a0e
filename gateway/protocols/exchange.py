"""One HTTP exchange of any dialect: read within limits, decode, infer, encode, measure, or say what went wrong.

Rules: a dialect brings a codec and nothing else; headers, deadlines, errors and events are the same for all of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.core.errors import Cancelled, DeadlineExceeded, InvalidRequest, NotFound, ServingError, TooLarge, TooSlow
from gateway.core.inference import Inference
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.router import Router, VersionRoute
from gateway.core.tensors import Tensor
from gateway.protocols.http_status import headers_of, status_of
from gateway.protocols.oip import encode_error

log = logging.getLogger(__name__)

REQUEST_ID = "twinserve.request_id"
"""Where the request's id is in the ASGI scope."""

CLIENT_CLOSED = 499  # nobody reads it; nginx's number for a client that went away
_LONGEST_VERSION_DIGITS = 18
_MOST_ATTEMPTS = 4


class RequestEvents(Protocol):
    """Whoever counts requests. Neither method raises."""

    def request_answered(
        self, model: str, version: int, engine: str, protocol: str, stages_s: dict[str, float]
    ) -> None:
        """A request was answered; `stages_s` has decode, queue, upstream, encode and total."""

    def request_failed(self, model: str, version: str, engine: str, protocol: str, outcome: str) -> None:
        """A request was refused or failed; model and version are empty unless they exist, engine unless asked."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """What a client may ask for."""

    body_bytes: int
    default_timeout_s: float
    longest_timeout_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """What a codec made of a body: the tensors, and how the client wants them answered."""

    inputs: dict[str, Tensor]
    encode: Callable[[InferAnswer], tuple[bytes, dict[str, str]]]
    outputs: tuple[str, ...] = ()
    engine: str | None = None
    timeout_s: float | None = None


class Codec(Protocol):
    """A dialect: how its bodies become tensors. `protocol` is its label in metrics."""

    protocol: str

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question:
        """Raises InvalidRequest, NotAnImage, TooLarge."""


class Exchange:
    """Runs inference exchanges over HTTP."""

    def __init__(self, inference: Inference, router: Router, events: RequestEvents, limits: ExchangeLimits) -> None:
        self._inference = inference
        self._router = router
        self._events = events
        self._limits = limits

    async def run(self, codec: Codec, request: Request, model: str, version: str | None) -> Response:
        """Answer one inference request, with a response for every error of the core."""
        try:
            return await self._answer(codec, request, model, version)
        except ServingError as error:
            self._count_failure(codec, model, version, error)
            return error_response(error)
        except ClientDisconnect:
            self._count_failure(codec, model, version, Cancelled("the client went away"))
            return Response(status_code=CLIENT_CLOSED)
        except asyncio.CancelledError:
            self._count_failure(codec, model, version, Cancelled("the gateway stops"))
            raise
        except Exception:
            log.exception("a bug answered 500")
            bug = ServingError("internal error; see the gateway's log")
            self._count_failure(codec, model, version, bug)
            return error_response(bug)

    async def _answer(self, codec: Codec, request: Request, model: str, version: str | None) -> Response:
        started = time.perf_counter()
        arrived = asyncio.get_running_loop().time()
        asked_version = parse_version(model, version)
        self._router.version(model, asked_version)  # what is not there is refused before its body is read
        body = await self._read(request)
        route_key = request.headers.get("x-route-key") or request.scope.get(REQUEST_ID, "")
        forced = request.headers.get("x-engine")
        for attempt in range(_MOST_ATTEMPTS):
            route = self._router.version(model, asked_version, route_key, forced)
            question = await self._decode(codec, body, request, route)
            engine = _choose_engine(request.headers, question.engine)
            if engine != forced:
                forced = engine
                if self._router.version(model, asked_version, route_key, forced) is not route:
                    continue  # the canary does not run on the engine that the body asks for
            timeout_s = min(question.timeout_s or self._limits.default_timeout_s, self._limits.longest_timeout_s)
            asked = InferRequest(
                model=model,
                version=route.version,  # the one whose signature the body was decoded with
                inputs=question.inputs,
                deadline=arrived + timeout_s,
                engine=engine,
                outputs=question.outputs,
            )
            decoded = time.perf_counter()
            try:
                answer = await self._inference.infer(asked)
                break
            except NotFound:
                # It left while the body was decoded, or lost all its engines and was withdrawn.
                if asked_version is not None or attempt + 1 == _MOST_ATTEMPTS:
                    raise
        answered = time.perf_counter()
        content, headers = question.encode(answer)
        finished = time.perf_counter()
        stages_s = {
            "decode": decoded - started,
            "queue": answer.queue_s,
            "upstream": answer.upstream_s,
            "encode": finished - answered,
            "total": finished - started,
        }
        self._events.request_answered(model, answer.version, answer.engine, codec.protocol, stages_s)
        headers["X-Engine"] = answer.engine
        headers["X-Model-Version"] = str(answer.version)
        headers["Server-Timing"] = ", ".join(f"{name};dur={s * 1000:.3f}" for name, s in stages_s.items())
        return Response(content, headers=headers)

    async def _read(self, request: Request) -> bytes:
        seconds = self._limits.default_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await read_body(request, self._limits.body_bytes)
        except TimeoutError as error:
            raise TooSlow(f"expected the whole body within {seconds:g} s") from error

    async def _decode(self, codec: Codec, body: bytes, request: Request, route: VersionRoute) -> Question:
        seconds = self._limits.default_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await codec.decode(body, request, route)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the request could not be decoded within {seconds:g} s") from error

    def _count_failure(self, codec: Codec, model: str, version: str | None, error: ServingError) -> None:
        """Only names that exist become labels: a client must not be able to grow the metrics."""
        try:
            known = str(error.version or self._router.version(model, parse_version(model, version)).version)
        except NotFound:
            model = known = ""
        self._events.request_failed(model, known, error.engine, codec.protocol, error.outcome)


def error_response(error: ServingError) -> Response:
    """The response for an error of the core, in the shape of the Open Inference Protocol."""
    status = status_of(error)
    if status >= 500:
        log.warning("answered %d: %s", status, error.message)
    headers = {"Content-Type": "application/json", **headers_of(error)}
    if error.engine:
        headers["X-Engine"] = error.engine
    return Response(encode_error(error.message), status, headers)


def parse_version(model: str, version: str | None) -> int | None:
    """The version in a path. Raises NotFound: what is no positive integer is the name of no version."""
    if version is None:
        return None
    if version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= _LONGEST_VERSION_DIGITS:
        return int(version)
    raise NotFound(f"unknown version {version[:40]!r} of model {model!r}: expected a positive integer")


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known to be over the limit, before reading the rest."""
    announced: Any = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit_bytes:
        raise TooLarge(f"expected a body of at most {limit_bytes} bytes, got {announced}")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(f"expected a body of at most {limit_bytes} bytes, got more")
        chunks.append(chunk)
    return b"".join(chunks)


def _choose_engine(headers: Headers, parameter: str | None) -> str | None:
    header = headers.get("x-engine")
    if header is not None and parameter is not None and header != parameter:
        raise InvalidRequest(f"X-Engine says {header!r}, parameter 'engine' says {parameter!r}: expected one engine")
    return header if header is not None else parameter
