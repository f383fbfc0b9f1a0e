"""grpc.aio's server, in the event loop of everything else, with bounds on what a call may cost."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import grpc

from gateway.grpc_port import GrpcPort

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30.0
MOST_CALLS = 4096

Services = Callable[[asyncio.Event], Sequence[grpc.GenericRpcHandler]]
"""Makes the handlers; their long calls end when the event is set."""


class GrpcServer:
    """Serves `services` from `start` until `stop`, both in the same event loop.

    A connection older than `longest_connection_s`, unless 0, is asked to make way for a new one (GOAWAY): calls on it
    end as they would have, new ones come over another. Behind a balancer that gives each gateway its share, and
    one that the balancer leaves out has no connection soon. `stop` says GOAWAY too, but a call that crosses it on the
    way is refused.
    """

    def __init__(
        self, port: GrpcPort, message_bytes: int, services: Services, longest_connection_s: float = 0.0
    ) -> None:
        self._port = port
        self._message_bytes = message_bytes
        self._services = services
        self._longest_connection_s = longest_connection_s
        self._draining = asyncio.Event()
        self._drain: asyncio.Future[None] | None = None
        self._server: grpc.aio.Server | None = None

    @property
    def port(self) -> GrpcPort:
        """Where it listens; with its number once it has started."""
        return self._port

    async def start(self) -> None:
        """Listen and serve. Raises OSError when the port cannot be listened on."""
        options = [
            ("grpc.max_receive_message_length", self._message_bytes),
            ("grpc.max_send_message_length", self._message_bytes),
            ("grpc.so_reuseport", int(self._port.is_shared)),
            # A peer that vanished without a word must not keep its calls for ever.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.max_concurrent_streams", MOST_CALLS // 4),
        ]
        if self._longest_connection_s:
            options.append(("grpc.max_connection_age_ms", max(round(1000 * self._longest_connection_s), 1)))
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
        server.add_generic_rpc_handlers(tuple(self._services(self._draining)))
        try:
            number = server.add_insecure_port(self._port.target)
        except RuntimeError as error:
            raise self._port.refusal(str(error)) from error
        await server.start()
        self._server = server
        self._port = replace(self._port, number=number)
        log.info("gRPC on %s", self._port.target)

    def begin_drain(self) -> None:
        """Take no new call from now on. What is under way may go on for as long as a drain takes."""
        self._draining.set()
        if self._server is not None and self._drain is None:
            self._drain = asyncio.ensure_future(self._server.stop(DRAIN_TIMEOUT_S))

    async def stop(self) -> None:
        """Drain, and return when every call is answered, or the time for that is over."""
        self.begin_drain()
        if self._drain is not None:
            await self._drain
