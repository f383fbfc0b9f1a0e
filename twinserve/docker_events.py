"""What the Docker daemon tells of containers, read from its documents."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIONS = ("kill", "die", "stop", "start", "destroy")


@dataclass(frozen=True)
class ContainerEvent:
    """Something that happened to a container: kill (with `signal`), die (with `exit_code`), stop, start, destroy.

    `at_ns`: nanoseconds since 1970, by the daemon's clock.
    """

    container_id: str
    name: str
    action: str
    at_ns: int
    signal: int = 0
    exit_code: int = 0


@dataclass(frozen=True)
class ContainerLook:
    """What a container is now. `status` in Docker's words: exited, restarting, running and so on.

    `stop_signal`: what `docker stop` sends it, by number.
    """

    status: str
    stop_signal: int
    labels: Mapping[str, str]


def read_look(known: Mapping[str, Any]) -> ContainerLook:
    """Its answer to `docker inspect`."""
    config = known["Config"]
    stop_signal = signal_number(config.get("StopSignal") or "SIGTERM")
    return ContainerLook(known["State"]["Status"], stop_signal, config.get("Labels") or {})


def signal_number(name: str) -> int:
    """Of a signal as images name it: SIGQUIT, QUIT or 3. SIGTERM, which is Docker's default, for what nobody knows."""
    if name.isdecimal():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    return int(getattr(signal, full, signal.SIGTERM))


def read_event(event: Mapping[str, Any]) -> ContainerEvent:
    """One document of its stream."""
    actor = event["Actor"]
    told = actor["Attributes"]
    return ContainerEvent(
        actor["ID"],
        told["name"],
        event["Action"],
        int(event["timeNano"]),
        signal=int(told.get("signal", 0)),
        exit_code=int(told.get("exitCode", 0)),
    )
