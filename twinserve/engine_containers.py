"""The engines as containers of this machine, from the images that docker-compose.yml runs, for a gateway outside them.

Each has its ports published on loopback, reads the repository and cannot write it. They run as whoever started them, so
that the gateway can read TorchServe's tokens (mode 0600), and what they write can be cleared away.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from contracts.addresses import Ports
from contracts.tfserving_command import EMPTY_CONFIG, MONITORING_CONFIG, OFFICIAL_SERVER, server_flags
from twinserve.container import ContainerPlan
from twinserve.docker_daemon import ContainerSpec, Daemon, DockerFailed, Mount
from twinserve.places import Places
from twinserve.plans import EMBEDDED, TFSERVING, TORCHSERVE, EnginePlans, log_of, model_store
from twinserve.probes import answers_http_at_all

HOME_LABEL = "twinserve.home"
OFFICIAL_IMAGE = "tensorflow/serving:2.20.0"
OUR_TF_IMAGE = "twinserve-tfserving"
DEFAULT_MEMORY = "4g"

_REPOSITORY = "/models"
_TORCHSERVE_RUN_DIR = "/var/lib/twinserve/torchserve"
_TF_CONFIG = PurePosixPath("/tmp/tfserving-models.config")  # noqa: S108 - the container's own
_TF_MONITORING = PurePosixPath("/tmp/tfserving-monitoring.config")  # noqa: S108 - the same
_INSIDE = Ports()
_BUILD = "docker compose -f docker-compose.yml -f docker-compose.embedded.yml build torchserve tfserving"


@dataclass(frozen=True)
class EngineImages:
    """The image of each engine."""

    torchserve: str
    tfserving: str

    @property
    def is_embedded(self) -> bool:
        """Whether ours stands in for TensorFlow Serving."""
        return re.split("[:@]", self.tfserving.rpartition("/")[2])[0] == OUR_TF_IMAGE


def find_images(daemon: Daemon, environment: Mapping[str, str]) -> EngineImages:
    """The images by TWINSERVE_TAG and TWINSERVE_TFSERVING_IMAGE; raises DockerFailed naming what makes a missing one.

    Without the latter the official TensorFlow Serving is taken where it is, as its program is by `process_plans`. A
    variable that is empty counts as not set, as in the compose files.
    """
    tag = environment.get("TWINSERVE_TAG") or "local"
    tfserving = environment.get("TWINSERVE_TFSERVING_IMAGE")
    if not tfserving:
        tfserving = OFFICIAL_IMAGE if daemon.has_image(OFFICIAL_IMAGE) else f"{OUR_TF_IMAGE}:{tag}"
    images = EngineImages(f"twinserve-torchserve:{tag}", tfserving)
    for image in (images.torchserve, images.tfserving):
        if not daemon.has_image(image):
            made_by = _BUILD if image.startswith("twinserve-") else f"docker pull {image}"
            raise DockerFailed(f"the image {image} is missing; this makes it: {made_by}")
    return images


def container_plans(
    places: Places, ports: Ports, daemon: Daemon, images: EngineImages, environment: Mapping[str, str]
) -> EnginePlans:
    """Both engines. `environment` has limits as for docker-compose.yml. Raises ValueError for a bad one, OSError."""
    model_store(places)
    places.torchserve.mkdir(parents=True, exist_ok=True)  # Docker would make it, as root

    torchserve = _spec(TORCHSERVE, images.torchserve, places, environment)
    torchserve = replace(
        torchserve,
        mounts=(*torchserve.mounts, Mount(places.torchserve, _TORCHSERVE_RUN_DIR, is_writable=True)),
        ports={
            _INSIDE.torchserve_inference: ports.torchserve_inference,
            _INSIDE.torchserve_management: ports.torchserve_management,
            _INSIDE.torchserve_metrics: ports.torchserve_metrics,
            _INSIDE.torchserve_grpc_inference: ports.torchserve_grpc_inference,
            _INSIDE.torchserve_grpc_management: ports.torchserve_grpc_management,
        },
    )
    tfserving = replace(
        _spec(TFSERVING, images.tfserving, places, environment),
        command=() if images.is_embedded else official_command(),
        ports={_INSIDE.tfserving_grpc: ports.tfserving_grpc, _INSIDE.tfserving_rest: ports.tfserving_rest},
    )

    def plan(name: str, spec: ContainerSpec, probed_port: int) -> ContainerPlan:
        # Docker listens on a published port before the server does, so only an answer tells that it is up.
        probe = answers_http_at_all(probed_port)
        return ContainerPlan(name, spec, daemon, log_of(places, name), probe, probe)

    return EnginePlans(
        plan(TORCHSERVE, torchserve, ports.torchserve_inference),
        plan(TFSERVING, tfserving, ports.tfserving_rest),
        EMBEDDED if images.is_embedded else OFFICIAL_SERVER,
        Path(_REPOSITORY),
    )


def remove_leftovers(places: Places, daemon: Daemon) -> list[str]:
    """Remove engines that outlived an `up` of this run directory; returns the containers' names. Raises DockerFailed.

    To be called by the one `up` of the directory, before it starts any.
    """
    return daemon.remove_labelled({HOME_LABEL: str(places.home)})


def official_command() -> tuple[str, str, str]:
    """Starts the server of the official image, which has none of our code, without any model."""
    server = shlex.join([OFFICIAL_SERVER, *server_flags(_INSIDE, _TF_CONFIG, _TF_MONITORING)])
    files = ((EMPTY_CONFIG, _TF_CONFIG), (MONITORING_CONFIG, _TF_MONITORING))
    written = "".join(f"echo '{text}' > {path} && " for text, path in files)
    return "/bin/sh", "-c", f"{written}exec {server}"


def _spec(engine: str, image: str, places: Places, environment: Mapping[str, str]) -> ContainerSpec:
    """What both engines have in common. Raises ValueError."""
    variable = f"TWINSERVE_{engine.upper()}_CPUS"
    cpus = environment.get(variable) or "0"
    try:
        processors = float(cpus)
    except ValueError as error:
        raise ValueError(f"{variable}={cpus!r} is not a number of processors") from error
    home = str(places.home)
    return ContainerSpec(
        name=f"twinserve-{engine}-{hashlib.sha256(home.encode()).hexdigest()[:8]}",
        image=image,
        labels={HOME_LABEL: home, "twinserve.engine": engine},
        mounts=(Mount(places.repository, _REPOSITORY),),
        ports={},
        user=f"{os.getuid()}:{os.getgid()}",
        # A user that the image does not know has neither home nor name, and torch asks for both.
        environment={"HOME": "/tmp", "USER": "twinserve"},  # noqa: S108 - the container's own
        memory=environment.get(f"TWINSERVE_{engine.upper()}_MEMORY") or DEFAULT_MEMORY,
        cpus=processors,
    )
