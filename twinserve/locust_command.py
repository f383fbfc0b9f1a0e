"""The command line of Locust for one run: where it writes, and who makes the load.

The load is made by one process; or by several that it forks; or by workers elsewhere, other machines or containers,
that wait for a master (`locust -f loadtest/locustfile.py --worker --master-host …`).
"""

import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.addresses import LOOPBACK

LOG = "locust.log"
WORKERS_PORT = 5557
"""Where workers from elsewhere look for the master: Locust's default."""

_WORKERS_WAIT_S = 60
_PROCESSES_WAIT_S = 30


@dataclass(frozen=True)
class Generators:
    """Who makes the load: `processes` of this machine, or `workers` from elsewhere if there are to be any."""

    processes: int = 1
    workers: int = 0

    def flags(self) -> list[str]:
        """Locust's flags for them; none for a single process."""
        if self.workers:
            # On all addresses, since workers come from other hosts; Locust knows no authentication.
            expected = ["--expect-workers", str(self.workers), "--expect-workers-max-wait", str(_WORKERS_WAIT_S)]
            return ["--master", *expected, "--master-bind-port", str(WORKERS_PORT)]
        if self.processes == 1:
            return []
        port = str(_free_port())
        waiting = ["--processes", str(self.processes), "--expect-workers-max-wait", str(_PROCESSES_WAIT_S)]
        return [*waiting, "--master-bind-host", LOOPBACK, "--master-bind-port", port, "--master-port", port]


def locust_command(options: Mapping[str, Any], flags: Sequence[str], generators: Generators, folder: Path) -> list[str]:
    """A headless run of our locustfile whose files go to `folder`. `options` that are None are left out."""
    locustfile = Path(__file__).resolve().parent.parent / "loadtest" / "locustfile.py"
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--only-summary", "--progress"]
    command += ["--loglevel", "WARNING", "--logfile", str(folder / LOG)]
    command += ["--html", str(folder / "report.html"), "--csv", str(folder / "requests")]
    # With a file for its figures, Locust prints no tables.
    command += ["--json-file", str(folder / "locust"), "--csv-full-history", "--artefacts", str(folder)]
    command += [f"{name}={value}" for name, value in options.items() if value is not None]
    return [*command, *generators.flags(), *flags]


def _free_port() -> int:
    """Where the processes of this run meet; another run may go on at the same time."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
