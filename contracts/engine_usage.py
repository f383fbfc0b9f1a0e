"""What whoever starts the engines measures of them for the gateway, beside memory: a small JSON file."""

import msgspec


class GpuUsage(msgspec.Struct, frozen=True):
    """One GPU, whoever uses it; None for what it does not tell.

    `utilisation_ratio` is the share of the last moments (up to a second) in which it computed, 0..1. `energy_joules`
    counts from when its driver was loaded.
    """

    utilisation_ratio: float | None = None
    energy_joules: float | None = None


class EngineUsage(msgspec.Struct, frozen=True):
    """Processor seconds and bytes on GPUs by engine, GPUs by their number as the driver counts them.

    `cpu_seconds` counts over all processes of an engine since the platform was started, and never falls. An engine
    that is not seen to hold memory on a GPU is missing from `gpu_memory_bytes`.
    """

    cpu_seconds: dict[str, float] = {}
    gpu_memory_bytes: dict[str, int] = {}
    gpus: dict[str, GpuUsage] = {}
