"""How much memory process groups take: real processes, and a /proc that tells less."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.measured_file import MeasuredFile
from twinserve.engine_memory import can_measure, measure, process_bytes, write_memory

MEBIBYTE = 2**20
HOLDER = """
import signal, subprocess, sys
held = b"x" * ({mebibytes} << 20)
if {workers}:
    worker = [sys.executable, "-c", "import signal; held = b'x' * (40 << 20); print(flush=True); signal.pause()"]
    subprocess.Popen(worker, stdout=subprocess.PIPE).stdout.readline()
print(flush=True)
signal.pause()
"""

needs_proc = pytest.mark.skipif(not can_measure(), reason="measured from Linux's /proc")


@contextmanager
def holder(mebibytes: int, workers: int = 0) -> Iterator[int]:
    """The pid of a process group's leader that holds memory, and so does its worker."""
    program = HOLDER.format(mebibytes=mebibytes, workers=workers)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"\n"
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


@needs_proc
def test_a_group_is_its_leader_and_its_workers() -> None:
    with holder(50) as alone, holder(50, workers=1) as together:
        found = measure({"alone": alone, "together": together})
    assert 50 * MEBIBYTE < found["alone"] < 100 * MEBIBYTE
    assert found["alone"] + 40 * MEBIBYTE < found["together"] < found["alone"] + 90 * MEBIBYTE


@needs_proc
def test_a_group_that_has_ended_is_left_out() -> None:
    with holder(1) as pid:
        pass
    assert measure({"gone": pid}) == {}


def statm(proc: Path, pid: int, pages: int) -> Path:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "statm").write_text(f"99999 {pages} 10 1 0 50 0\n")
    return folder


ROLLUP = """00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]
Rss:               90000 kB
Pss:                3000 kB
Pss_Anon:           2000 kB
Pss_File:           1000 kB
SwapPss:             500 kB
"""


def test_what_is_shared_is_divided_and_what_is_swapped_out_counts(tmp_path: Path) -> None:
    (statm(tmp_path, 7, pages=90_000) / "smaps_rollup").write_text(ROLLUP)
    assert process_bytes(7, tmp_path) == 3500 * 1024


def test_without_a_look_at_the_pages_the_resident_size_counts(tmp_path: Path) -> None:
    (statm(tmp_path, 7, pages=300) / "smaps_rollup").mkdir()  # reading it fails, as it does for a stranger's process
    assert process_bytes(7, tmp_path) == 300 * os.sysconf("SC_PAGE_SIZE")
    assert process_bytes(8, tmp_path) == 0


def test_members_are_found_by_their_group(tmp_path: Path) -> None:
    with holder(1) as stranger:
        statm(tmp_path, os.getpid(), pages=11)
        statm(tmp_path, stranger, pages=5000)
        (tmp_path / "meminfo").touch()
        found = measure({"us": os.getpgid(0)}, tmp_path)
    assert found == {"us": 11 * os.sysconf("SC_PAGE_SIZE")}


def test_a_system_without_proc(tmp_path: Path) -> None:
    assert not can_measure(tmp_path / "proc")


def test_the_gateway_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    reader = MeasuredFile(path, dict[str, int])
    assert reader.read() == {}
    for memory in ({"torchserve": 3, "tfserving": 5}, {"torchserve": 4}):
        write_memory(path, memory)
        assert reader.read() == memory
    assert [entry.name for entry in tmp_path.iterdir()] == ["memory.json"]
