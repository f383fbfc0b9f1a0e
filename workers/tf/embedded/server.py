"""The composition root: makes every room, connects them, opens the ports, and takes it all down again."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import tensorflow as tf
import uvicorn

from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.flags import Options
from workers.tf.embedded.grpc_services import ModelService, PredictionService, build_grpc_server
from workers.tf.embedded.lookup import Lookup
from workers.tf.embedded.manager import Manager, Retries
from workers.tf.embedded.model_config import parse_config_file
from workers.tf.embedded.owner import Owner
from workers.tf.embedded.prediction import Prediction
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.rest_app import RestApp
from workers.tf.embedded.savedmodel import SavedModel, load_saved_model
from workers.tf.embedded.source import FileSystemSource

_LOG = logging.getLogger(__name__)

_GRACE_S = 1.0
_LISTEN_BACKLOG = 128


class Server:
    """All of the server but its process. Call `start` once, then `stop` once, from one thread."""

    def __init__(self, options: Options, owner: Owner) -> None:
        self._options = options
        self._owner = owner
        self._manager = Manager[SavedModel](_load, Retries(options.max_num_load_retries, options.load_retry_interval_s))
        self._source = FileSystemSource(self._manager.aspire, options.file_system_poll_wait_seconds)
        self._lookup = Lookup(self._manager)
        self._configuration = Configuration(self._manager, self._source, self._lookup)
        self._closers: list[Callable[[], None]] = [self._source.stop, self._manager.stop]

    def start(self) -> str:
        """Load the configured models, open the ports once they are available, and say which are open.

        Raises Fault when the configuration is refused, a model does not load or a port is taken; OSError when the
        configuration file cannot be read.
        """
        tf.get_logger().setLevel("ERROR")
        self._owner.start("manager", self._manager.run)
        self._owner.start("source", self._source.run)
        models = parse_config_file(self._options.model_config_file)
        self._configuration.apply(models, is_abandoned=lambda: self._owner.is_stopping)
        return f"Serving {', '.join(self._open_ports())}"

    def stop(self) -> None:
        """Refuse new requests, give those under way a moment, and end the threads."""
        self._owner.stop()
        for close in reversed(self._closers):
            close()

    def _open_ports(self) -> list[str]:
        options = self._options
        prediction = Prediction(self._lookup, options.is_strict)
        opened = []
        if options.port:
            opened.append(f"gRPC on {self._open_grpc(prediction)}")
        if options.rest_api_port and options.rest_api_port == options.port:
            _LOG.warning("--rest_api_port is the gRPC port as well: there is no REST API")
        elif options.rest_api_port:
            opened.append(f"REST on {self._open_rest(prediction)}")
        if not opened:
            raise invalid("Neither --port nor --rest_api_port names a port")
        return opened

    def _open_grpc(self, prediction: Prediction) -> str:
        address = _address(self._options.bind_address, self._options.port)
        models = ModelService(self._manager, self._configuration)
        server: grpc.Server = build_grpc_server(PredictionService(prediction), models, threads=_threads())
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise Fault(Code.UNAVAILABLE, f"Cannot listen on {address}: {error}") from error
        server.start()
        self._closers.append(lambda: _wait_stopped(server))
        return address

    def _open_rest(self, prediction: Prediction) -> str:
        host, port = self._options.bind_address, self._options.rest_api_port
        address = _address(host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=_LISTEN_BACKLOG)
        except OSError as error:
            raise Fault(Code.UNAVAILABLE, f"Cannot listen on {address}: {error}") from error
        app = RestApp(self._manager, prediction)
        # uvicorn leaves signals alone outside of the main thread.
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, log_level="warning", access_log=False, server_header=False
        )
        server = uvicorn.Server(config)
        self._owner.start("rest", lambda: server.run(sockets=[listener]))
        self._closers.append(lambda: setattr(server, "should_exit", True))
        return address


def _load(model: str, version: int, path: Path) -> SavedModel:  # noqa: ARG001 - a path says it all
    return load_saved_model(path)


def _wait_stopped(server: grpc.Server) -> None:
    server.stop(_GRACE_S).wait(_GRACE_S)


def _threads() -> int:
    # A reload blocks a thread for as long as its models load; requests must find others.
    return max(16, 4 * (os.cpu_count() or 1))


def _address(host: str, port: int) -> str:
    # gRPC would take 70000 for 4464.
    if not 0 < port < 65536:
        raise invalid(f"{port} is not a port (1 to 65535)")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
