"""How much memory process groups take, from Linux's /proc; elsewhere nothing is known.

A group's memory is the sum over its processes of what is resident or swapped out, shared pages divided among those who
share them (Pss and SwapPss, proc_pid_smaps(5)); of a process whose pages may not be looked at, its whole resident size.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

PROC = Path("/proc")
_COUNTED = (b"Pss:", b"SwapPss:")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def can_measure(proc: Path = PROC) -> bool:
    """Whether this system tells."""
    return (proc / "self" / "statm").is_file()


def measure(groups: Mapping[str, int], proc: Path = PROC) -> dict[str, int]:
    """Bytes by name, of process groups by name; a group without a process is left out. Raises OSError."""
    found = members(frozenset(groups.values()), proc)
    bytes_by_name = {
        name: sum(process_bytes(pid, proc) for pid in found.get(group, ())) for name, group in groups.items()
    }
    return {name: taken for name, taken in bytes_by_name.items() if taken}


def process_bytes(pid: int, proc: Path = PROC) -> int:
    """What one process takes; 0 when it has ended."""
    try:
        rollup = (proc / str(pid) / "smaps_rollup").read_bytes()
        if taken := _counted_bytes(rollup.splitlines()):
            return taken
    except OSError:
        pass  # not allowed, or a kernel before 4.14
    try:
        return int((proc / str(pid) / "statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def write_memory(path: Path, memory: Mapping[str, int]) -> None:
    """Tell it by a file. Raises OSError."""
    replace_file(path, msgspec.json.encode(memory))


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file whole, so that its reader never sees a part. Raises OSError.

    It is not synced to the disk: it is renewed every few seconds, and worth nothing after a power cut.
    """
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(content)
    staged.replace(path)


def members(groups: frozenset[int], proc: Path = PROC) -> dict[int, list[int]]:
    """The processes of these process groups, by group; of one that has ended, none. Raises OSError."""
    found: dict[int, list[int]] = {}
    for pid in (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()):
        try:
            group = os.getpgid(pid)
        except OSError:
            continue  # it ended while we looked
        if group in groups:
            found.setdefault(group, []).append(pid)
    return found


def _counted_bytes(lines: Iterable[bytes]) -> int:
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(_COUNTED))
