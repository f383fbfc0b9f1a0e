"""The gateway processes on one repository, by files in its folder `.gateways`.

Each process holds a lock on `<name>.lock` for as long as it lives, so that the kernel tells when it is dead, and keeps
`<name>.json` at what it uses and has counted. What one of them has to see to, an engine or the rollouts of the dead, is
seen to by the holder of a lock on a file named for it.
"""

import fcntl
import hashlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import IO

import msgspec

from contracts.layout import GATEWAYS
from gateway.core.counts import Counts
from gateway.core.ports import PeerReport, Using
from gateway.core.usage import Usage

log = logging.getLogger(__name__)

_COUNTS_INTERVAL_S = 1.0


class _Report(msgspec.Struct, frozen=True):
    """What `<name>.json` holds: pairs of model and version, by endpoint; counts and usages by model and version."""

    using: dict[str, list[tuple[str, int]]]
    counts: list[tuple[str, int, Counts]]
    answering: dict[str, int]
    usages: list[tuple[str, int, Usage]] = []
    was_ready: bool = False


class DirectoryPeers:
    """Implements gateway.core.ports.Peers. Made once a process; raises OSError when the folder cannot be written."""

    def __init__(self, repository: Path) -> None:
        self._host = re.sub(r"[^A-Za-z0-9.]", "-", socket.gethostname())
        self._name = f"{self._host}-{os.getpid()}-{secrets.token_hex(3)}"
        self._folder = repository / GATEWAYS
        self._leads: dict[str, IO[str]] = {}
        self._known: dict[str, PeerReport] = {}
        self._life = self._join()
        self._told: tuple[Using, Mapping[str, int]] | None = None
        self._told_at = 0.0

    def _join(self) -> IO[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        for lock in self._leads.values():
            lock.close()
        self._leads.clear()
        self._life = self._path(self._name, "lock").open("w")
        fcntl.flock(self._life, fcntl.LOCK_EX)
        return self._life

    @property
    def name(self) -> str:
        """See gateway.core.ports.Peers."""
        return self._name

    def lead(self, what: str) -> bool:
        """See gateway.core.ports.Peers."""
        if what in self._leads and not os.fstat(self._leads[what].fileno()).st_nlink:
            self._leads.pop(what).close()  # somebody removed the file, and another process may have locked a new one
        if what not in self._leads:
            try:
                lock = (self._folder / f"leader-{self._digest(what)}").open("w")
            except OSError as error:
                log.error("nobody can lead: %s", error)
                return False
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                return False
            self._leads[what] = lock
        return True

    def stop_leading(self, what: str) -> None:
        """See gateway.core.ports.Peers."""
        if (lock := self._leads.pop(what, None)) is not None:
            lock.close()

    def _digest(self, what: str) -> str:
        """A name for a file. What is at a loopback address is another thing on every host."""
        is_here = re.search(r"\b127\.|localhost|\[?::1\]?", what)
        return hashlib.sha256(f"{self._host if is_here else ''}/{what}".encode()).hexdigest()[:16]

    def tell(self, report: PeerReport) -> None:
        """See gateway.core.ports.Peers."""
        now = monotonic()
        urgent = (report.using, report.answering)
        if urgent == self._told and now - self._told_at < _COUNTS_INTERVAL_S:
            return
        stored = _Report(
            {engine: sorted(versions) for engine, versions in report.using.items()},
            [(model, version, counted) for (model, version), counted in report.counts.items()],
            dict(report.answering),
            [(model, version, used) for (model, version), used in report.usages.items()],
            report.was_ready,
        )
        staged = self._path(self._name, "new")
        try:
            if not self._path(self._name, "lock").exists():
                self._join()  # somebody removed the folder
            staged.write_bytes(msgspec.json.encode(stored))
            staged.replace(self._path(self._name, "json"))
        except OSError as error:
            log.error("other gateways cannot be told what this one uses: %s", error)
            return
        self._told, self._told_at = urgent, now

    def others(self) -> Mapping[str, PeerReport]:
        """See gateway.core.ports.Peers."""
        found = {name: report for name in self._names() if (report := self._read(name)) is not None}
        self._known = found
        return found

    def close(self) -> None:
        """Leave."""
        for kind in ("json", "new", "lock"):
            self._path(self._name, kind).unlink(missing_ok=True)
        self._life.close()
        for lock in self._leads.values():
            lock.close()
        self._leads.clear()

    def _names(self) -> Iterator[str]:
        try:
            found = sorted(self._folder.glob("*.json"))
        except OSError as error:
            log.error("other gateways cannot be read: %s", error)
            found = [self._path(name, "json") for name in self._known]
        for path in found:
            if path.stem != self._name:
                yield path.stem

    def _read(self, name: str) -> PeerReport | None:
        try:
            if not self._is_alive(name):
                return None
            report = msgspec.json.decode(self._path(name, "json").read_bytes(), type=_Report)
        except FileNotFoundError:
            return None  # it has just left
        except (OSError, msgspec.DecodeError) as error:
            # Not to be read is not to be dead: what it said last holds on.
            log.error("gateway %s cannot be understood: %s", name, error)
            return self._known.get(name)
        using = {engine: frozenset(versions) for engine, versions in report.using.items()}
        counts = {(model, version): counted for model, version, counted in report.counts}
        usages = {(model, version): used for model, version, used in report.usages}
        return PeerReport(using, counts, report.answering, usages, report.was_ready)

    def _is_alive(self, name: str) -> bool:
        """Whether somebody holds its lock; who is dead is cleaned up after. Raises OSError."""
        with self._path(name, "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            for kind in ("json", "new", "lock"):
                self._path(name, kind).unlink(missing_ok=True)
        return False

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"
