"""What `twinserve up` starts: two engines, as processes here or elsewhere, and the gateway in front of them."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from contracts.addresses import Ports
from contracts.layout import TORCHSERVE_STORE
from contracts.tfserving_command import OFFICIAL_SERVER
from twinserve.child import ChildPlan, Plan
from twinserve.log_file import LogFile
from twinserve.places import Places
from twinserve.probes import accepts_tcp, answers_http, answers_http_at_all

TORCHSERVE = "torchserve"
TFSERVING = "tfserving"
ENGINES = (TORCHSERVE, TFSERVING)
GATEWAY = "gateway"
EMBEDDED = "embedded"


@dataclass(frozen=True)
class EnginePlans:
    """Both engines. `implementation` answers as tfserving; `repository` is its path as the engines see it."""

    torchserve: Plan
    tfserving: Plan
    implementation: str
    repository: Path


def process_plans(places: Places, ports: Ports) -> EnginePlans:
    """The engines as processes; on the TF side the official server where it is on PATH. Raises OSError."""
    implementation = OFFICIAL_SERVER if shutil.which(OFFICIAL_SERVER) else EMBEDDED
    environment = ports.to_environment()
    torchserve = ("--run-dir", str(places.torchserve), "--model-store", str(model_store(places)))
    tfserving = ("--run-dir", str(places.tfserving), "--implementation", implementation)
    return EnginePlans(
        ChildPlan(
            TORCHSERVE,
            (sys.executable, "-m", "workers.torch.launcher", *torchserve),
            log_of(places, TORCHSERVE),
            answers_http_at_all(ports.torchserve_inference),
            accepts_tcp(ports.torchserve_inference),
            environment,
        ),
        ChildPlan(
            TFSERVING,
            (sys.executable, "-m", "workers.tf.launcher", *tfserving),
            log_of(places, TFSERVING),
            answers_http_at_all(ports.tfserving_rest),
            accepts_tcp(ports.tfserving_grpc),
            environment,
        ),
        implementation,
        places.repository,
    )


def gateway_plan(places: Places, ports: Ports, engines: EnginePlans) -> ChildPlan:
    """The gateway, always a process here."""
    environment = {
        **ports.to_environment(),
        "TWINSERVE_REPOSITORY": str(places.repository),
        "TWINSERVE_ADMIN_TOKEN_FILE": str(places.token_file),
        "TWINSERVE_TORCHSERVE_KEY_FILE": str(places.torchserve / "key_file.json"),
        "TWINSERVE_TFSERVING_IMPLEMENTATION": engines.implementation,
        "TWINSERVE_TFSERVING_REPOSITORY": str(engines.repository),
        "TWINSERVE_ENGINE_MEMORY_FILE": str(places.memory),
        "TWINSERVE_ENGINE_USAGE_FILE": str(places.usage),
    }
    return ChildPlan(
        GATEWAY,
        (sys.executable, "-m", "gateway"),
        log_of(places, GATEWAY),
        answers_http_at_all(ports.http),
        answers_http(ports.http, "/v2/health/ready"),
        environment,
    )


def model_store(places: Places) -> Path:
    """TorchServe's folder in the repository, which has to exist before it starts. Raises OSError."""
    store = places.repository / TORCHSERVE_STORE
    store.mkdir(exist_ok=True)
    return store


def log_of(places: Places, child: str) -> LogFile:
    """The log file of a child, by its name."""
    return LogFile(places.logs / f"{child}.log")
