"""What processes use, and what is left of them: against real ones of our own."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadtest.bench.children import Child, NotStarted, accepts, free_ports
from loadtest.bench.usage import cpu_between, cpu_s, machine_cpu_s, resident_bytes

# A parent that waits for its standard input to end, and a child that burns half a second first.
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
while time.process_time() < 0.5: pass
print("burnt", flush=True)
sys.stdin.read()
'''])
sys.stdin.read()
"""


@pytest.mark.long
def test_a_familys_use_is_told_by_parent_and_children_and_stop_ends_all(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "family.log"
    machine_before = machine_cpu_s()
    child = Child("family", [sys.executable, "-c", FAMILY], os.environ, log)
    try:
        child.wait_until(lambda: b"burnt" in log.read_bytes(), 30)
        used = cpu_s({"family": child.pid})
        members = psutil.Process(child.pid).children(recursive=True)
        assert used["family's children"] >= 0.45  # counted in hundredths
        assert used["family"] < 0.5
        assert machine_cpu_s() - machine_before > 0.4
        assert resident_bytes({"family": child.pid})["family"] > 5e6
    finally:
        child.stop()
    assert len(members) == 1
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)


def test_what_ends_before_it_is_ready_is_told_with_its_log(tmp_path: Path) -> None:
    child = Child("brief", [sys.executable, "-c", "raise SystemExit(3)"], os.environ, tmp_path / "brief.log")
    with pytest.raises(NotStarted, match=r"brief ended with 3, see .*brief\.log"):
        child.wait_until(lambda: False, 30)
    child.stop()


def test_what_is_not_ready_in_time_is_told(tmp_path: Path) -> None:
    child = Child("slow", [sys.executable, "-c", "import sys; sys.stdin.read()"], os.environ, tmp_path / "slow.log")
    try:
        with pytest.raises(NotStarted, match="not ready"):
            child.wait_until(lambda: False, 0.1)
    finally:
        child.stop()
    assert child.process.returncode is not None


def test_a_process_that_is_gone_uses_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert cpu_s({"gone": gone.pid}) == {}
    assert resident_bytes({"gone": gone.pid}) == {"gone": 0}


def test_use_between_two_readings_never_falls_below_nothing() -> None:
    assert cpu_between({"a": 1.0, "b": 5.0}, {"a": 1.5, "b": 4.0, "new": 2.0}) == {"a": 0.5, "b": 0.0, "new": 2.0}


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(9)
    assert len(set(ports)) == 9
    assert not any(accepts(port) for port in ports)
