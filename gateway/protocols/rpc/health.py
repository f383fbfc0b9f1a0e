"""grpc.health.v1: ready is what /v2/health/ready says. The messages are those of grpcio-health-checking.

Nothing is pushed: a check looks, a watch looks again whenever routing has changed or the gateway says that it will
stop, and ends when the server drains.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from gateway.core.errors import NotFound, ServingError
from gateway.core.router import Router
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.rpc.calls import Context, caller_of, parse, plain, refuse
from gateway.protocols.rpc.seats import Seats

SERVICE = "grpc.health.v1.Health"

_Status = health_pb2.HealthCheckResponse


class Health:
    """Answers about the whole server, which is the service "", and about each of `services`, which fare alike."""

    def __init__(self, catalogue: Catalogue, router: Router, services: frozenset[str]) -> None:
        self._catalogue = catalogue
        self._router = router
        self._services = services | {""}

    def handler(self, draining: asyncio.Event, seats: Seats) -> grpc.GenericRpcHandler:
        """The service, to be added to a server; each watch takes a seat."""

        async def watch(message: bytes, context: Context) -> None:
            try:
                service = parse(health_pb2.HealthCheckRequest, message).service
                with seats.taken():
                    await self._watch(service, context, draining)
            except ServingError as error:
                await refuse(context, caller_of(context), error)

        handlers: dict[str, Any] = {
            "Check": plain(health_pb2.HealthCheckRequest, self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _check(self, request: Any) -> Any:
        if request.service not in self._services:
            known = ", ".join(sorted(filter(None, self._services)))
            raise NotFound(f"unknown service {request.service[:80]!r}: expected nothing, or one of {known}")
        return _Status(status=self._status)

    async def _watch(self, service: str, context: Context, draining: asyncio.Event) -> None:
        if service not in self._services:
            await context.write(_Status(status=_Status.SERVICE_UNKNOWN).SerializeToString())
            await draining.wait()  # it will not become known here, but only the client ends a watch
            return
        told = None
        ended = asyncio.ensure_future(draining.wait())
        noticed = asyncio.ensure_future(self._catalogue.wait_notice())
        try:
            while not draining.is_set():
                change = self._router.changed  # before looking: what changes while we write must not be missed
                if (status := self._status) != told:
                    told = status
                    await context.write(_Status(status=status).SerializeToString())
                changed = asyncio.ensure_future(change.wait())
                try:
                    awaited = {changed, ended} if noticed.done() else {changed, ended, noticed}
                    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            ended.cancel()
            noticed.cancel()
        await context.write(_Status(status=_Status.NOT_SERVING).SerializeToString())

    @property
    def _status(self) -> Any:
        return _Status.SERVING if self._catalogue.is_ready else _Status.NOT_SERVING
