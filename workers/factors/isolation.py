"""A network with nothing in it but loopback, for programs that would listen on all addresses of the machine.

`python -m workers.factors.isolation COMMAND...` is what runs first inside: it brings loopback up, and becomes COMMAND.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

_PROBE_TIMEOUT_S = 30.0
_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS and IFF_UP of Linux


def isolated(command: Sequence[str]) -> list[str]:
    """The command line that runs another one in a new network namespace, as a user who is root there alone."""
    inside = [sys.executable, "-m", "workers.factors.isolation", *command]
    return ["unshare", "--map-root-user", "--net", "--", *inside]


def why_not_isolated() -> str:
    """What this machine refuses of it; empty when it works."""
    try:
        done = subprocess.run(
            isolated([sys.executable, "-c", ""]),
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return "there is no `unshare` (util-linux) here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines[-1] if lines else f"unshare ended with {done.returncode}")


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))


if __name__ == "__main__":
    _bring_loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command is ours, and no shell is wanted
