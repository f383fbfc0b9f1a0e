"""How the model server of the TF side is started, whoever starts it: as a process here, or in a container."""

from pathlib import PurePath

from contracts.addresses import Ports

OFFICIAL_SERVER = "tensorflow_model_server"
EMPTY_CONFIG = "model_config_list {}"
"""What it is to serve at its start, as the text proto that `config` holds: nothing; the gateway tells it."""

MONITORING_PATH = "/monitoring/prometheus/metrics"
"""Where the server tells its own counters, on its REST port."""

MONITORING_CONFIG = f'prometheus_config {{ enable: true, path: "{MONITORING_PATH}" }}'
"""The text proto that `monitoring` holds; without it the server tells nothing."""


def server_flags(ports: Ports, config: PurePath, monitoring: PurePath) -> list[str]:
    """Flags that both implementations understand.

    A published version is whole from the first moment, so a failed load is tried again but twice: the publisher waits
    for the verdict.
    """
    return [
        f"--port={ports.tfserving_grpc}",
        f"--rest_api_port={ports.tfserving_rest}",
        f"--model_config_file={config}",
        f"--monitoring_config_file={monitoring}",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=500000",
    ]
