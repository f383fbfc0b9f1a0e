"""What named processes have used: processor seconds, and resident memory."""

from collections.abc import Mapping
from contextlib import suppress

import psutil

from loadtest.bench.children import descendants


def cpu_s(roots: Mapping[str, int]) -> dict[str, float]:
    """Seconds of a processor so far, by name of a root process; what it started counts as "NAME's children"."""
    used: dict[str, float] = {}
    for name, pid in roots.items():
        with suppress(psutil.Error):
            own = psutil.Process(pid).cpu_times()
            used[name] = own.user + own.system
            # Of children that have ended, the system tells their parent's sum.
            children = own.children_user + own.children_system
            for child in descendants(pid):
                with suppress(psutil.Error):
                    times = child.cpu_times()
                    children += times.user + times.system
            if children:
                used[f"{name}'s children"] = children
    return used


def machine_cpu_s() -> float:
    """Seconds of a processor that all processes together have used so far, and what a hypervisor kept for others."""
    used = psutil.cpu_times()
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(used, name, 0.0) for name in names))


def cpu_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used from one reading to the next; a process that ended meanwhile counts nothing."""
    return {name: max(0.0, used - before.get(name, 0.0)) for name, used in after.items()}


def resident_bytes(roots: Mapping[str, int]) -> dict[str, int]:
    """Resident memory by root, with all that it started: PSS, so that shared pages count once; else RSS."""
    return {name: sum(map(_resident, [pid, *(p.pid for p in descendants(pid))])) for name, pid in roots.items()}


def _resident(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        try:
            return int(process.memory_full_info().pss)
        except (AttributeError, psutil.AccessDenied):
            return int(process.memory_info().rss)
    except psutil.Error:
        return 0
