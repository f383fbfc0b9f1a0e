"""The load generator `wrk`: its command, and what it prints."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest.bench.figures import Latency

SCRIPT = Path(__file__).with_name("wrk_post.lua")
_MARK = "BENCH "
_TIMEOUT_S = 20


class BadOutput(ValueError):
    """wrk did not print what our script makes it print; the message has what it did print."""


class WrkReport(msgspec.Struct, frozen=True):
    """What the script prints: counts, and times in microseconds. `requests` has those of a bad status in it."""

    requests: int
    duration_us: int
    status: int
    connect: int
    read: int
    write: int
    timeout: int
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int

    @property
    def answered(self) -> int:
        """Requests with a good status."""
        return self.requests - self.status

    @property
    def errors(self) -> int:
        return self.status + self.connect + self.read + self.write + self.timeout

    @property
    def seconds(self) -> float:
        return self.duration_us / 1e6

    @property
    def latency(self) -> Latency:
        return Latency(self.p50_us / 1e3, self.p90_us / 1e3, self.p99_us / 1e3, self.p999_us / 1e3)


def find_wrk() -> str | None:
    """The program, None when it is not installed."""
    return shutil.which("wrk")


def wrk_command(program: str, url: str, connections: int, duration_s: int, requests: Sequence[Path]) -> list[str]:
    """One thread, since it shares the cores with what it measures. `requests`: files of whole HTTP requests."""
    options = ["-t1", f"-c{connections}", f"-d{duration_s}s", f"--timeout={_TIMEOUT_S}s", "-s", str(SCRIPT)]
    return [program, *options, url, "--", *map(str, requests)]


def parse_wrk(output: str) -> WrkReport:
    """Raises BadOutput."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise BadOutput(f"expected one line that begins with {_MARK!r}, got: {output[-500:]!r}")
    try:
        return msgspec.json.decode(lines[0].removeprefix(_MARK), type=WrkReport)
    except msgspec.DecodeError as error:
        raise BadOutput(f"{error}: {lines[0]!r}") from error
