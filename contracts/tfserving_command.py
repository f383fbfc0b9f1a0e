"""How the model server of the TF side is started, whoever starts it: as a process here, or in a container."""

from pathlib import PurePath

from contracts.addresses import Ports

OFFICIAL_SERVER = "tensorflow_model_server"
EMPTY_CONFIG = "model_config_list {}"
"""What it is to serve at its start, as the text proto that `config` holds: nothing; the gateway tells it."""


def server_flags(ports: Ports, config: PurePath) -> list[str]:
    """Flags that both implementations understand.

    A published version is whole from the first moment, so a failed load is tried again but twice: the publisher waits
    for the verdict.
    """
    return [
        f"--port={ports.tfserving_grpc}",
        f"--rest_api_port={ports.tfserving_rest}",
        f"--model_config_file={config}",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=500000",
    ]
