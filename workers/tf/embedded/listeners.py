"""The ports: gRPC over TCP and a Unix socket, REST over TCP; opened from flags, closed by whoever opened them."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import uvicorn

from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.flag_table import Options
from workers.tf.embedded.grpc_listener import channel_arguments, listen, server_credentials
from workers.tf.embedded.grpc_services import ModelService, PredictionService, build_grpc_server
from workers.tf.embedded.health import Health
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.owner import Owner
from workers.tf.embedded.rest_app import RestApp, RestOptions
from workers.tf.embedded.rest_calls import RestCalls
from workers.tf.embedded.schemas import message_class, read_text_message

Closer = Callable[[], None]

_LOG = logging.getLogger(__name__)

_GRACE_S = 1.0
_LISTEN_BACKLOG = 128
_LEAST_THREADS = 16
_METRICS_PATH = "/monitoring/prometheus/metrics"


def open_grpc(options: Options, predictions: PredictionService, models: ModelService) -> tuple[str, Closer]:
    """Listen on the port, the Unix socket, or both. Raises Fault, OSError."""
    arguments = channel_arguments(options.grpc_channel_arguments)
    credentials = server_credentials(options.ssl_config_file)
    server = build_grpc_server(predictions, models, _threads(options.grpc_max_threads), arguments)
    health = Health()
    if options.enable_grpc_healthcheck_service:
        server.add_generic_rpc_handlers((health.handler(),))
    opened = []
    if options.port:
        opened.append(_address(options.bind_address, options.port))
        listen(server, opened[-1], credentials)
    if options.grpc_socket_path:
        # As the original: what a killed server left behind is no reason not to start.
        with contextlib.suppress(FileNotFoundError):
            Path(options.grpc_socket_path).unlink()
        opened.append(f"unix:{options.grpc_socket_path}")
        listen(server, opened[-1], None)
    server.start()
    return " and ".join(opened), lambda: _close_grpc(server, health)


def open_rest(options: Options, calls: RestCalls, metrics: Metrics, owner: Owner) -> tuple[str, Closer]:
    """Listen on the REST port. Raises Fault, OSError."""
    host, port = options.bind_address, options.rest_api_port
    address = _address(host, port)
    rest_options = RestOptions(options.rest_timeout_s, options.rest_api_enable_cors_support, metrics_path(options))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_LISTEN_BACKLOG)
    except OSError as error:
        raise Fault(Code.UNAVAILABLE, f"Cannot listen on {address}: {error}") from error
    executor = ThreadPoolExecutor(_threads(options.rest_api_num_threads), thread_name_prefix="rest")
    # uvicorn leaves signals alone outside of the main thread.
    config = uvicorn.Config(
        RestApp(calls, executor, metrics, rest_options),
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    owner.start("rest", lambda: server.run(sockets=[listener]))
    return address, lambda: setattr(server, "should_exit", True)


def metrics_path(options: Options) -> str:
    """Where metrics are told of, "" when they are not. Raises Fault, OSError."""
    if not options.monitoring_config_file:
        return ""
    message = read_text_message(Path(options.monitoring_config_file), message_class("MonitoringConfig")())
    prometheus = message.prometheus_config
    return (prometheus.path or _METRICS_PATH) if prometheus.enable else ""


def has_rest(options: Options) -> bool:
    """False, and said so, when both APIs would share a port."""
    if options.rest_api_port and options.rest_api_port == options.port:
        _LOG.warning("--rest_api_port is the gRPC port as well: there is no REST API")
        return False
    return bool(options.rest_api_port)


def _close_grpc(server: grpc.Server, health: Health) -> None:
    stopped = server.stop(_GRACE_S)
    # Inside the grace: when it ends gRPC cancels what is left, also a client that would not take its last message.
    health.stop()
    stopped.wait(_GRACE_S)


def _threads(asked: int) -> int:
    # A reload blocks a thread for as long as its models load; requests must find others.
    return asked if asked > 0 else max(_LEAST_THREADS, 4 * (os.cpu_count() or 1))


def _address(host: str, port: int) -> str:
    # gRPC would take 70000 for 4464.
    if not 0 < port < 65536:
        raise invalid(f"{port} is not a port (1 to 65535)")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
