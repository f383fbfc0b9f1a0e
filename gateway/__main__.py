"""Run the gateway: `python -m gateway`. Settings come from the environment (gateway.settings)."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys

import uvloop

from gateway.app import make_app, make_engines
from gateway.engine_figures import make_counters
from gateway.grpc_port import GrpcPort, check_free
from gateway.http_server import make_server
from gateway.processes import LIFE_VARIABLE, SOCKET_VARIABLE, run_processes
from gateway.settings import Settings

JOIN_TIMEOUT_S = 15.0


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 when stopped by one, 1 when the gateway gave up by itself."""
    gave_up = False

    def stop() -> None:
        nonlocal gave_up
        gave_up = True
        server.should_exit = True

    life = os.environ.get(LIFE_VARIABLE)
    has_others = bool(life) or settings.stop_notice_s > 0  # behind a port that is shared, or behind a balancer
    join_timeout_s = JOIN_TIMEOUT_S if has_others else 0.0
    app = make_app(settings, make_engines(settings), stop, join_timeout_s, make_counters(settings))
    server = make_server(app, settings, app.grpc.begin_drain)
    if life:
        loop, pipe = asyncio.get_running_loop(), int(life)

        def parent_gone() -> None:
            loop.remove_reader(pipe)
            stop()

        loop.add_reader(pipe, parent_gone)  # readable once the parent is gone
    inherited = os.environ.get(SOCKET_VARIABLE)
    await server.serve(sockets=[socket.socket(fileno=int(inherited))] if inherited else None)
    return 1 if gave_up or not server.started else 0


def main() -> int:
    """Read the settings and serve; 2 when they are wrong."""
    try:
        settings = Settings()
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        settings.read_admin_token()
    except (ValueError, OSError) as error:  # pydantic's ValidationError is a ValueError
        sys.stderr.write(f"the gateway's settings (TWINSERVE_… variables) are wrong: {error}\n")
        return 2
    try:
        return run_processes(settings) if settings.gateway_processes > 1 else run_one(settings)
    except OSError as error:
        sys.stderr.write(f"the gateway cannot run here: {error}\n")
        return 2


def run_one(settings: Settings) -> int:
    """Serve in this process; returns the exit code. Raises OSError."""
    if LIFE_VARIABLE not in os.environ:  # else the parent holds the port
        check_free(GrpcPort(settings.host, settings.grpc_port))
    # uvicorn drains on these and then raises them once more; being asked to stop is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the usual 1024 is less than the connections we allow
    # A thread that reads a version's files must not keep the event loop from its requests for the usual 5 ms a turn.
    sys.setswitchinterval(0.0005)
    gc.collect()
    # A batch of requests makes more objects at a time than the usual 700, all of which go without a collector's help.
    gc.set_threshold(20_000, 20, 50)
    gc.freeze()  # what was imported stays for good, and looking through it again would stop every request for 30 ms
    return uvloop.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
