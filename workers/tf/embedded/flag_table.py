"""Every flag there is: one row each for parser, usage and documentation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """One row of the table. `type` is int32, int64, float, bool or string; `choices`, if given, are all values allowed.

    A flag that `is_ignored` is understood, and its value checked, but changes nothing here.
    """

    name: str
    type: str
    default: int | float | str | bool
    meaning: str
    choices: tuple[str, ...] = ()
    is_ignored: bool = False


def _ignored(name: str, type_: str, default: int | float | str | bool) -> Flag:
    return Flag(name, type_, default, "Accepted and ignored.", is_ignored=True)


PORTS = (
    Flag("port", "int32", 8500, "TCP port of the gRPC API; 0 turns it off."),
    Flag("grpc_socket_path", "string", "", "Unix socket the gRPC API listens on as well."),
    Flag("grpc_channel_arguments", "string", "", "Arguments of the gRPC server: key=value,key=value."),
    Flag("grpc_max_threads", "int32", 0, "Threads that serve gRPC; 0: four a CPU, at least 16."),
    Flag("enable_grpc_healthcheck_service", "bool", False, "Serve grpc.health.v1."),
    Flag("ssl_config_file", "string", "", "File with an SSLConfig in text format; the gRPC port then speaks TLS only."),
    Flag("rest_api_port", "int32", 0, "TCP port of the REST API; 0, or the gRPC port, turns it off."),
    Flag("rest_api_num_threads", "int32", 0, "Threads that serve REST; 0: four a CPU, at least 16."),
    Flag(
        "rest_api_timeout_in_ms", "int32", 30000, "How long one REST inference may run, in milliseconds; 0: for ever."
    ),
    Flag("rest_api_enable_cors_support", "bool", False, "Send CORS headers with every REST answer."),
    Flag(
        "monitoring_config_file", "string", "", "File with a MonitoringConfig in text format: metrics for Prometheus."
    ),
    Flag("bind_address", "string", "127.0.0.1", "Ours: the address both ports listen on."),
)

MODELS = (
    Flag("model_name", "string", "default", "Name of the model under --model_base_path."),
    Flag("model_base_path", "string", "", "Directory of one model's versions; ignored with --model_config_file."),
    Flag("model_config_file", "string", "", "File with a ModelServerConfig in text format."),
    Flag(
        "model_config_file_poll_wait_seconds", "int32", 0, "Seconds between two looks at that file; 0: only at start."
    ),
    Flag(
        "file_system_poll_wait_seconds",
        "int32",
        1,
        "Seconds between two looks for new versions; 0: look once after each configuration, negative: never look.",
    ),
    Flag("max_num_load_retries", "int32", 5, "How often a failed load is tried again before the version is given up."),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "Wait before a failed load is tried again, microseconds."),
    Flag(
        "allow_version_labels_for_unavailable_models",
        "bool",
        False,
        "A label that is new may stand for a version that is not loaded yet.",
    ),
    Flag("saved_model_tags", "string", "serve", "Tags of the meta graph to load, separated by commas."),
    Flag("enable_model_warmup", "bool", True, "Run assets.extra/tf_serving_warmup_requests before a version serves."),
    Flag("num_request_iterations_for_warmup", "int32", 1, "How often each warm-up request is run."),
)

INFERENCE = (
    Flag("enable_batching", "bool", False, "Run requests in batches."),
    Flag("batching_parameters_file", "string", "", "File with BatchingParameters in text format."),
    Flag(
        "enable_per_model_batching_parameters",
        "bool",
        False,
        "Each version's own batching_params.pbtxt tells how to batch; a version without one is not batched.",
    ),
    Flag("enable_signature_method_name_check", "bool", False, "Classify and Regress insist on the method_name."),
    Flag("enable_serialization_as_tensor_content", "bool", False, "Put outputs of Predict into tensor_content."),
    Flag("tensorflow_session_parallelism", "int32", 0, "Threads a session uses; 0: as many as TensorFlow likes."),
    Flag("tensorflow_intra_op_parallelism", "int32", 0, "Threads within one operation; 0: as TensorFlow likes."),
    Flag("tensorflow_inter_op_parallelism", "int32", 0, "Operations at once; 0: as TensorFlow likes."),
    Flag("tensorflow_session_config_file", "string", "", "File with a ConfigProto in text format."),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, "Share of a GPU's memory; 0: grow as needed."),
    Flag(
        "shape_check",
        "string",
        "strict",
        "Ours: strict refuses inputs whose rank or fixed dimensions differ from the signature; "
        "off feeds whatever comes, like the original.",
        ("strict", "off"),
    ),
    Flag("version", "bool", False, "Print the version and leave."),
)

IGNORED = (
    _ignored("num_load_threads", "int32", 0),
    _ignored("num_unload_threads", "int32", 0),
    _ignored("flush_filesystem_caches", "bool", True),
    _ignored("platform_config_file", "string", ""),
    _ignored("prefer_tflite_model", "bool", False),
    _ignored("use_tflite_model", "bool", False),
    _ignored("num_tflite_pools", "int32", 1),
    _ignored("num_tflite_interpreters_per_pool", "int32", 1),
    _ignored("xla_cpu_compilation_enabled", "bool", False),
    _ignored("xla_gpu_compilation_enabled", "bool", False),
    _ignored("use_alts_credentials", "bool", False),
    _ignored("mixed_precision", "string", ""),
    _ignored("enable_profiler", "bool", True),
    _ignored("thread_pool_factory_config_file", "string", ""),
    _ignored("skip_initialize_tpu", "bool", False),
    _ignored("remove_unused_fields_from_bundle_metagraph", "bool", True),
)

FLAGS = PORTS + MODELS + INFERENCE + IGNORED


@dataclass(frozen=True)
class Options:
    """The values of all flags that mean something here, named as on the command line."""

    port: int
    grpc_socket_path: str
    grpc_channel_arguments: str
    grpc_max_threads: int
    enable_grpc_healthcheck_service: bool
    ssl_config_file: str
    rest_api_port: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    monitoring_config_file: str
    bind_address: str
    model_name: str
    model_base_path: str
    model_config_file: str
    model_config_file_poll_wait_seconds: int
    file_system_poll_wait_seconds: int
    max_num_load_retries: int
    load_retry_interval_micros: int
    allow_version_labels_for_unavailable_models: bool
    saved_model_tags: str
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    enable_batching: bool
    batching_parameters_file: str
    enable_per_model_batching_parameters: bool
    enable_signature_method_name_check: bool
    enable_serialization_as_tensor_content: bool
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    tensorflow_session_config_file: str
    per_process_gpu_memory_fraction: float
    shape_check: str
    version: bool

    @property
    def is_strict(self) -> bool:
        return self.shape_check == "strict"

    @property
    def load_retry_interval_s(self) -> float:
        return self.load_retry_interval_micros / 1e6

    @property
    def rest_timeout_s(self) -> float | None:
        return self.rest_api_timeout_in_ms / 1e3 if self.rest_api_timeout_in_ms > 0 else None
