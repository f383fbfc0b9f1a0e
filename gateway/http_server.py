"""uvicorn as the gateway uses it."""

import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from gateway.app import GatewayApp
from gateway.express_connection import ExpressProtocol, KnownHeads
from gateway.settings import Settings

DRAIN_TIMEOUT_S = 30
LONGEST_IDLE_S = 75


class DrainingServer(uvicorn.Server):
    """Says when it begins to drain, so that whatever else listens drains meanwhile and not afterwards."""

    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_drain = on_drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_drain()
        await super().shutdown(sockets)


def make_server(app: GatewayApp, settings: Settings, on_drain: Callable[[], None]) -> uvicorn.Server:
    """A server for the gateway's app, not yet listening."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.http_port,
        http=partial(ExpressProtocol, express=app.express, known=KnownHeads()),  # type: ignore[arg-type]
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=LONGEST_IDLE_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )
    return DrainingServer(config, on_drain)
