"""The composition root: makes every room, connects them, opens the ports, and takes it all down again."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from workers.tf.embedded.batch_queues import BatchThreads
from workers.tf.embedded.config_polling import ConfigPolling
from workers.tf.embedded.example_inference import ExampleInference
from workers.tf.embedded.fair_turns import FairTurns
from workers.tf.embedded.faults import invalid
from workers.tf.embedded.flag_table import Options
from workers.tf.embedded.grpc_services import ModelService, PredictionService
from workers.tf.embedded.listeners import has_rest, open_grpc, open_rest
from workers.tf.embedded.loading import Loader, choose_batching
from workers.tf.embedded.lookup import Lookup
from workers.tf.embedded.manager import Manager, Retries
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.model_config import ModelConfig, parse_config_file
from workers.tf.embedded.owner import Owner
from workers.tf.embedded.prediction import Execution, Prediction
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.rest_calls import RestCalls, RestPredict
from workers.tf.embedded.savedmodel import Model
from workers.tf.embedded.session_options import load_options
from workers.tf.embedded.source import FileSystemSource
from workers.tf.embedded.tensors import Encoding
from workers.tf.embedded.warmup import Warmup


class Server:
    """All of the server but its process. Call `start` once, then `stop` once, from one thread."""

    def __init__(self, options: Options, owner: Owner) -> None:
        """Raises Fault when flags contradict each other or a file they name does not parse, OSError without one."""
        self._options = options
        self._owner = owner
        self._metrics = Metrics()
        self._batches = BatchThreads()
        self._choice = choose_batching(options)
        self._manager = Manager[Model](self._load, Retries(options.max_num_load_retries, options.load_retry_interval_s))
        self._lookup = Lookup(self._manager)
        self._source = FileSystemSource(self._manager.aspire, options.file_system_poll_wait_seconds)
        self._configuration = Configuration(
            self._manager, self._source, self._lookup, options.allow_version_labels_for_unavailable_models
        )
        self._execution = Execution(options.is_strict, self._metrics)
        encoding = Encoding.CONTENT if options.enable_serialization_as_tensor_content else Encoding.FIELDS
        self._prediction = Prediction(self._lookup, self._execution, encoding)
        self._examples = ExampleInference(
            self._lookup, self._execution, self._metrics, options.enable_signature_method_name_check
        )
        self._turns = FairTurns()
        self._loader = self._make_loader()
        self._closers: list[Callable[[], None]] = [self._batches.stop, self._source.stop, self._manager.stop]

    def start(self) -> str:
        """Load the configured models, open the ports once they are available, and say which are open.

        Raises Fault when the configuration is refused, a model does not load or a port is taken; OSError when a
        configuration file cannot be read.
        """
        tf.get_logger().setLevel("ERROR")
        options = self._options
        models = _models(options)
        if not options.port and not options.grpc_socket_path:
            raise invalid("Neither --port nor --grpc_socket_path says where to serve gRPC")
        self._owner.start("manager", self._manager.run)
        self._owner.start("source", self._source.run)
        for index in range(0 if self._choice.batching is None else self._choice.batching.threads):
            self._owner.start(f"batch {index}", self._batches.run)
        self._configuration.apply(models, is_abandoned=lambda: self._owner.is_stopping)
        opened = f"Serving {', '.join(self._open_ports())}"
        polling = ConfigPolling(
            self._configuration, options.model_config_file, options.model_config_file_poll_wait_seconds
        )
        self._closers.append(polling.stop)
        self._owner.start("configuration", polling.run)
        return opened

    def stop(self) -> None:
        """Refuse new requests, give those under way a moment, and end the threads."""
        self._owner.stop()
        for close in reversed(self._closers):
            close()

    def _open_ports(self) -> list[str]:
        predictions = PredictionService(self._prediction, self._examples, self._metrics)
        services = ModelService(self._manager, self._configuration, self._metrics)
        address, close = open_grpc(self._options, predictions, services)
        self._closers.append(close)
        opened = [f"gRPC on {address}"]
        if has_rest(self._options):
            predict = RestPredict(self._lookup, self._execution)
            calls = RestCalls(self._manager, self._prediction, predict, self._examples)
            address, close = open_rest(self._options, calls, self._metrics, self._owner)
            self._closers.append(close)
            opened.append(f"REST on {address}")
        return opened

    def _make_loader(self) -> Loader:
        warmup = Warmup(
            self._prediction, self._examples, self._metrics, self._options.num_request_iterations_for_warmup
        )
        return Loader(
            load_options(self._options),
            self._choice,
            self._batches,
            self._metrics,
            warmup.run if self._options.enable_model_warmup else None,
        )

    def _load(self, model: str, version: int, path: Path) -> Model:
        # The loader warms through the use cases, which look versions up in the manager that is made with this.
        with self._turns.during_load():
            return self._loader(model, version, path)


def _models(options: Options) -> tuple[ModelConfig, ...]:
    if options.model_config_file:
        return parse_config_file(options.model_config_file)
    if not options.model_base_path:
        raise invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")
    return (ModelConfig(options.model_name, options.model_base_path),)
