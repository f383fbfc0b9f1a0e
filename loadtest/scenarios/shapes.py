"""What scenarios there are, as data: how much load when, in which dialects, and what else happens meanwhile. Pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Protocol(enum.StrEnum):
    """How a request is put."""

    JSON = "json"  # Open Inference Protocol, JSON both ways
    BINARY = "binary"  # Open Inference Protocol, raw tensors both ways
    IMAGE = "image"  # a PNG to /models/{m}/classify
    GRPC = "grpc"  # Open Inference Protocol over gRPC


class Disturbance(enum.StrEnum):
    """What happens to the platform while it is under load."""

    NONE = "none"
    SWAPS = "swaps"
    KILL = "kill"


@dataclass(frozen=True)
class Phase:
    """A stretch of a scenario: its share of the duration, and the share of the full load at its start and its end."""

    name: str
    length: float
    begins: float
    ends: float


@dataclass(frozen=True)
class Scenario:
    """One scenario. Durations are in seconds; the lengths of the phases add up to 1."""

    name: str
    what: str
    phases: tuple[Phase, ...]
    duration_s: float
    quick_s: float
    protocols: tuple[Protocol, ...] = (Protocol.BINARY,)
    disturbance: Disturbance = Disturbance.NONE

    def share_at(self, progress: float) -> float:
        """The share of the full load when `progress` (0..1) of the duration is over."""
        phase, within = self._phase(progress)
        return phase.begins + (phase.ends - phase.begins) * within

    def phase_at(self, progress: float) -> str:
        """The name of the phase then."""
        return self._phase(progress)[0].name

    def _phase(self, progress: float) -> tuple[Phase, float]:
        start = 0.0
        *earlier, last = self.phases
        for phase in earlier:
            if progress < start + phase.length:
                return phase, max(0.0, progress - start) / phase.length
            start += phase.length
        return last, min(1.0, max(0.0, progress - start) / last.length)


def _level(name: str, length: float, share: float) -> Phase:
    return Phase(name, length, share, share)


_STEADY = (_level("steady", 1.0, 1.0),)

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", "the same load all the time", _STEADY, 30, 3),
        Scenario(
            "ramp",
            "from a tenth of the load to all of it, then held",
            (Phase("rising", 0.8, 0.1, 1.0), _level("full", 0.2, 1.0)),
            60,
            4,
        ),
        Scenario(
            "spike",
            "a fifth of the load, all of it at once, a fifth again",
            (_level("before", 0.4, 0.2), _level("spike", 0.2, 1.0), _level("after", 0.4, 0.2)),
            60,
            5,
        ),
        Scenario(
            "soak",
            "the same load for long; the first and the last quarter tell what drifts",
            (_level("first quarter", 0.25, 1.0), _level("middle", 0.5, 1.0), _level("last quarter", 0.25, 1.0)),
            600,
            4,
        ),
        Scenario(
            "hot-swap",
            "versions promoted in turn under load; at the end the live one is what it was",
            _STEADY,
            60,
            6,
            disturbance=Disturbance.SWAPS,
        ),
        Scenario(
            "engine-kill",
            "kill -9 of an engine under load; it must be back, and nobody may have noticed",
            (_level("before", 0.3, 1.0), _level("after the kill", 0.7, 1.0)),
            60,
            6,
            disturbance=Disturbance.KILL,
        ),
        Scenario("mixed", "JSON, binary, pictures and gRPC at once", _STEADY, 30, 4, protocols=tuple(Protocol)),
    )
}
KILL_AT = 0.3
"""When the engine is killed, as a share of the duration: where the second phase of engine-kill begins."""
