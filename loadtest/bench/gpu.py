"""The GPU, as `nvidia-smi` and torch tell of it: whether there is one, and how much of its memory is used."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from loadtest.bench.children import descendants, module_command
from loadtest.bench.targets import own_environment

_CARD = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0")
_BY_PROCESS = ("nvidia-smi", "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits", "--id=0")
_FIND_TIMEOUT_S = 120
_READ_TIMEOUT_S = 20


class NoGpu(Exception):
    """There is none that torch can use; the message says so in one line."""


class Gpu(msgspec.Struct, frozen=True):
    """The first GPU that torch sees."""

    name: str
    memory_bytes: int
    cuda: str


def find_gpu() -> Gpu:
    """Asks torch in a process of its own. Raises NoGpu."""
    command = module_command("loadtest.bench.raw_forward", "--find-gpu")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_FIND_TIMEOUT_S, env=own_environment(), check=True
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoGpu(f"no GPU was found: torch could not be asked ({error})") from error
    if not found["name"]:
        raise NoGpu(
            f"no GPU was found: torch {found['torch']} sees no CUDA device here, so there is nothing to measure"
        )
    return Gpu(found["name"], found["memory_bytes"], found["cuda"])


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of the first GPU that given processes hold, and that all hold; None where `nvidia-smi` does not tell.

    In a container it may know our processes by other numbers: then `own_bytes` is 0.
    """

    own_bytes: int | None = None
    card_bytes: int | None = None


def read_gpu_memory(roots: Mapping[str, int]) -> GpuMemory:
    """Of these processes and all that they started."""
    pids = {member for pid in roots.values() for member in (pid, *(child.pid for child in descendants(pid)))}
    try:
        by_process, card = parse_memory(_printed(_BY_PROCESS)), parse_memory(_printed(_CARD))
    except (OSError, ValueError, subprocess.SubprocessError):
        return GpuMemory()
    own = sum(held for *words, held in by_process if words and words[0] in pids)
    return GpuMemory(own, sum(held for *_, held in card))


def _printed(command: tuple[str, ...]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_READ_TIMEOUT_S, check=True).stdout


def parse_memory(printed: str) -> list[tuple[int, ...]]:
    """Lines of numbers whose last one is MiB, which become bytes. Raises ValueError."""
    lines = [[int(word) for word in line.split(",")] for line in printed.splitlines() if line.strip()]
    return [(*words, mebibytes * 2**20) for *words, mebibytes in lines]
