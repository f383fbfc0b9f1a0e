"""uvicorn as the gateway uses it."""

import logging
import socket
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import FrameType

import uvicorn

from gateway.app import GatewayApp
from gateway.core.readiness import Notice
from gateway.express_connection import ExpressProtocol, KnownHeads
from gateway.settings import Settings

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30
LONGEST_IDLE_S = 75


class DrainingServer(uvicorn.Server):
    """Gives notice before it stops, and says when it begins to drain, so that whatever else listens drains meanwhile.

    The first signal gives notice: for `notice_s` everything is answered as before, while balancers learn that they
    should send no more. The second one ends that. With 0 the first signal stops it at once.
    """

    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None], notice: Notice, notice_s: float) -> None:
        super().__init__(config)
        self._on_drain = on_drain
        self._notice = notice
        self._notice_s = notice_s
        self._stops_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started and self._notice_s > 0 and self._stops_at is None:
            self._stops_at = monotonic() + self._notice_s  # on_tick sees it: this may interrupt anything
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._stops_at is not None:
            if not self._notice.is_given:
                log.info("stopping in %g s; no longer ready until then", self._notice_s)
                self._notice.give()
            self.should_exit = self.should_exit or monotonic() >= self._stops_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_drain()
        await super().shutdown(sockets)


def make_server(app: GatewayApp, settings: Settings, on_drain: Callable[[], None]) -> uvicorn.Server:
    """A server for the gateway's app, not yet listening."""
    protocol = partial(ExpressProtocol, express=app.express, known=KnownHeads(), notice=app.notice)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.http_port,
        http=protocol,  # type: ignore[arg-type]
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=LONGEST_IDLE_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )
    return DrainingServer(config, on_drain, app.notice, settings.stop_notice_s)
