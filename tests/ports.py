"""Ports for servers that tests start, which no other test process is given meanwhile.

Whoever asks the system for any free port and lets go of it again may find it taken: until the server binds it, every
other process and every outgoing connection may be given the same one. So ports come from below the range that systems
give away by themselves (from 32768 on Linux, from 49152 on macOS), and each test process has a block of its own.
"""

import secrets
import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

LOOPBACK = "127.0.0.1"
BLOCK_PORTS = 250
BLOCKS = range(20_000, 32_000, BLOCK_PORTS)


def free_port() -> int:
    """A TCP port of loopback that nothing uses; the same one again only after all others of the block."""
    found = next(filter(_is_free, islice(_own_block(), BLOCK_PORTS)), None)
    assert found is not None, "every port of this process's block is in use"
    return found


@cache
def _own_block() -> Iterator[int]:
    """The ports of a block that is this process's own, over and over.

    The claim on it is a UDP socket bound to the number of its first port: that leaves TCP free, and the system lets go
    of it when the process ends, however it ends.
    """
    for first in secrets.SystemRandom().sample(BLOCKS, len(BLOCKS)):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((LOOPBACK, first))
        except OSError:
            claim.close()
            continue
        claim.detach()  # stays open
        return cycle(range(first, first + BLOCK_PORTS))
    raise AssertionError(f"{len(BLOCKS)} test processes run already")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
