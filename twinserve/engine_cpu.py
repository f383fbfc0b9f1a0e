"""How much processor time process groups have used, from Linux's /proc (proc_pid_stat(5))."""

import os
from collections.abc import Iterable
from pathlib import Path

from twinserve.engine_memory import PROC

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Behind the name: utime, stime, and the same of those children that have ended and were waited for.
_TIMES = slice(11, 15)


def cpu_seconds(pids: Iterable[int], proc: Path = PROC) -> float:
    """Seconds used by these processes, and by those of their children that have ended; without those that are gone."""
    return sum(_ticks(pid, proc) for pid in pids) / _TICKS_PER_S


def _ticks(pid: int, proc: Path) -> int:
    try:
        behind_name = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2]
    except OSError:
        return 0  # it has ended
    return sum(int(ticks) for ticks in behind_name.split()[_TIMES])


class CpuMeter:
    """Adds up over an engine's processes, one after the other.

    What it tells never falls, or a rate would jump: a process that is just ending is seen neither by itself nor in its
    parent's count for a moment, and one whose parent is gone before it is never seen again.
    """

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._now: dict[str, tuple[int, float]] = {}

    def add(self, engine: str, group: int, used_s: float) -> float:
        """Seconds of the engine so far, when its present process group has used `used_s`."""
        known_group, most_s = self._now.get(engine, (group, 0.0))
        if known_group != group:
            self._before[engine] = self._before.get(engine, 0.0) + most_s
            most_s = 0.0
        self._now[engine] = (group, max(most_s, used_s))
        return self._before.get(engine, 0.0) + self._now[engine][1]
