"""Everything about a gateway process that can be set: environment variables TWINSERVE_<NAME>, in upper case."""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.addresses import LOOPBACK, Ports
from gateway.engines.addresses import ServerAddress, read_addresses

_PORTS = Ports()


class Settings(BaseSettings):
    """Settings of one gateway process. Durations in seconds, sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="TWINSERVE_", env_ignore_empty=True, extra="ignore")

    host: str = Field(default=LOOPBACK, description="Address to listen on, for HTTP and gRPC")
    http_port: int = _PORTS.http
    grpc_port: int = Field(default=_PORTS.grpc, description="0 is any that is free")
    repository: Path = Field(default=Path("model_repo"), description="The shared model repository")
    admin_token: str | None = Field(default=None, description="Bearer token of operators; wins over the file")
    admin_token_file: Path | None = None
    log_level: str = "info"

    torchserve_host: str = LOOPBACK
    torchserve_inference_port: int = _PORTS.torchserve_inference
    torchserve_management_port: int = _PORTS.torchserve_management
    torchserve_metrics_port: int = _PORTS.torchserve_metrics
    torchserve_endpoints: str = Field(
        default="",
        description="Servers, as host or host:inference/management/metrics, with commas between; instead of the host",
    )
    torchserve_key_file: Path = Field(
        default=Path(".twinserve/torchserve/key_file.json"),
        description="Written by TorchServe; or a folder in which, or in whose folders, several TorchServe write theirs",
    )

    tfserving_host: str = LOOPBACK
    tfserving_grpc_port: int = _PORTS.tfserving_grpc
    tfserving_rest_port: int = _PORTS.tfserving_rest
    tfserving_endpoints: str = Field(
        default="", description="Servers, as host or host:grpc/rest, with commas between; instead of the host"
    )
    tfserving_implementation: str = Field(
        default="unknown", description="tensorflow_model_server or embedded; only whoever started it knows"
    )
    tfserving_repository: Path | None = Field(
        default=None, description="The repository's path as TensorFlow Serving sees it"
    )

    body_limit_bytes: PositiveInt = 16 * 1024 * 1024
    grpc_message_limit_bytes: PositiveInt = Field(default=64 * 1024 * 1024, le=2**31 - 1)
    image_limit_pixels: PositiveInt = Field(default=16_000_000, description="Of all pictures of a request together")
    default_timeout_s: PositiveFloat = 30.0
    longest_timeout_s: PositiveFloat = 600.0
    gateway_processes: PositiveInt = Field(default=1, description="Processes that share the gateway's ports")
    stop_notice_s: NonNegativeFloat = Field(
        default=0.0,
        description="How long it says that it is not ready before it stops; for gateways behind a balancer",
    )
    patience_s: NonNegativeFloat = Field(
        default=10.0, description="How long after the last engine was lost requests wait for one to come back"
    )
    probe_interval_s: PositiveFloat = 1.0
    golden_atol: NonNegativeFloat = Field(
        default=1e-3, description="An engine's golden answers may be off by this much, and golden_rtol of their value"
    )
    golden_rtol: NonNegativeFloat = 1e-3
    engine_memory_file: Path | None = Field(
        default=None, description="JSON of resident bytes by engine, written by whoever started the engines"
    )
    engine_usage_file: Path | None = Field(
        default=None, description="JSON of what else the engines use, written by the same (contracts/engine_usage.py)"
    )
    engine_counters_interval_s: NonNegativeFloat = Field(
        default=5.0, description="How often the engines' own counters are read; 0 is never"
    )
    batch_in_flight: PositiveInt = 3
    batch_rows: PositiveInt = 64
    latency_target_s: PositiveFloat = 0.25
    queue_rows: PositiveInt = 8192
    """Rows that may wait for one version on one engine; a request of more rows is refused with 413."""

    access_log: str = Field(default="", description="File of the access log, or - for standard output; empty is none")
    access_log_sample: float = Field(default=1.0, ge=0, le=1, description="Share of the answers that it tells")
    otlp_endpoint: str = Field(
        default="", description="URL of an OpenTelemetry collector that takes OTLP over HTTP; empty is no traces"
    )
    trace_sample: float = Field(default=1.0, ge=0, le=1, description="Share of the traces begun here that are told")

    endpoint_lookup_interval_s: PositiveFloat = Field(
        default=1.0, description="How often names of engines are looked up: all addresses of one are endpoints"
    )
    endpoint_slow_start_s: NonNegativeFloat = Field(
        default=10.0, description="How long the share of an endpoint that came back grows, while another one answers"
    )

    @property
    def torchserve_servers(self) -> tuple[ServerAddress, ...]:
        """With the ports for inference, management and metrics."""
        ports = (self.torchserve_inference_port, self.torchserve_management_port, self.torchserve_metrics_port)
        return read_addresses(self.torchserve_endpoints or _bracketed(self.torchserve_host), ports)

    @property
    def tfserving_servers(self) -> tuple[ServerAddress, ...]:
        """With the ports for gRPC and REST."""
        ports = (self.tfserving_grpc_port, self.tfserving_rest_port)
        return read_addresses(self.tfserving_endpoints or _bracketed(self.tfserving_host), ports)

    @model_validator(mode="after")
    def _have_endpoints(self) -> "Settings":
        for name in ("torchserve_servers", "tfserving_servers"):
            try:
                getattr(self, name)
            except ValueError as error:
                raise ValueError(f"{name.removesuffix('_servers')}: {error}") from error
        return self

    @field_validator("access_log")
    @classmethod
    def _has_folder(cls, path: str) -> str:
        if path and not Path(path).parent.is_dir():
            raise ValueError(f"there is no folder {Path(path).parent}")
        return path

    @field_validator("otlp_endpoint")
    @classmethod
    def _can_be_reached(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected http://host:port, got {url}")
        if not _has_exporter():
            raise ValueError("traces need the extra: pip install -c constraints.txt '.[tracing]'")
        return url

    def read_admin_token(self) -> str | None:
        """The operators' token, or None when none is set: then /admin answers nobody. Raises OSError."""
        if self.admin_token:
            return self.admin_token
        if self.admin_token_file is None:
            return None
        return self.admin_token_file.read_text().strip() or None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _has_exporter() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
