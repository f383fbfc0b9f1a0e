"""Keeps versions loaded as wanted. Decisions are `plan`'s; this room does what it says, one action at a time.

One lock guards all records; loading and freeing happen outside of it, in the one thread that calls `step`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from workers.tf.embedded.faults import Code, Fault
from workers.tf.embedded.plan import Action, Deed, next_action, next_due_s
from workers.tf.embedded.states import State
from workers.tf.embedded.versions import Leased, Record, S, VersionStatus

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retries:
    """How often a failed load is tried again, and how long after the failure."""

    count: int
    interval_s: float


class Manager(Generic[S]):
    """The versions of all models. `load` makes a servable of a model, version and path, or raises."""

    def __init__(self, load: Callable[[str, int, Path], S], retries: Retries) -> None:
        self._load_servable = load
        self._retries = retries
        self._changed = threading.Condition()
        self._records: dict[str, dict[int, Record[S]]] = {}
        self._wanted: dict[str, dict[int, Path]] = {}
        self._is_stopping = False

    # -- what sources say

    def aspire(self, model: str, wanted: Mapping[int, Path]) -> None:
        """From now on `model` should serve exactly the versions `wanted`, loaded from these paths."""
        with self._changed:
            self._wanted[model] = dict(wanted)
            self._reconcile(model)
            self._changed.notify_all()

    def _reconcile(self, model: str) -> None:
        wanted = self._wanted.get(model, {})
        records = self._records.setdefault(model, {})
        for version, path in wanted.items():
            record = records.get(version)
            # A version that ended while wanted has failed for good: it must vanish before it gets a new life.
            if record is None or (record.state is State.END and not record.is_aspired):
                records[version] = Record(model, version, path)
        for record in records.values():
            # One on its way out finishes first; it is wanted again, with a new record, once it has ended.
            if record.state is not State.UNLOADING:
                record.is_aspired = record.version in wanted

    # -- what requests need

    @contextmanager
    def lease(self, model: str, version: int | None = None) -> Iterator[Leased[S]]:
        """Hold a version, by default the highest available one; it stays in memory until the block is left.

        Raises Fault(NOT_FOUND) when that version is not available.
        """
        record = self._take(model, version)
        try:
            assert record.servable is not None  # noqa: S101 - AVAILABLE and leased, so the loop leaves it alone
            yield Leased(record.version, record.servable)
        finally:
            with self._changed:
                record.leases -= 1
                if record.state is State.UNLOADING and record.leases == 0:
                    self._changed.notify_all()

    def _take(self, model: str, version: int | None) -> Record[S]:
        with self._changed:
            records = self._records.get(model, {})
            if version is None:
                available = [r for r in records.values() if r.state is State.AVAILABLE]
                record = max(available, key=lambda r: r.version, default=None)
            else:
                record = records.get(version)
            if record is None or record.state is not State.AVAILABLE:
                asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise Fault(Code.NOT_FOUND, f"Servable not found for request: {asked}")
            record.leases += 1
            return record

    def statuses(self, model: str) -> list[VersionStatus]:
        """Every version of `model` this process has known, highest first; empty for an unknown model."""
        with self._changed:
            records = sorted(self._records.get(model, {}).values(), key=lambda r: -r.version)
            return [VersionStatus(r.version, r.state, r.error if r.state is State.END else None) for r in records]

    def wait_until(self, is_reached: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Block until `is_reached` (asked after every change and after `wake`), at most `timeout_s`; True if it is."""
        with self._changed:
            return self._changed.wait_for(is_reached, timeout_s)

    def wake(self) -> None:
        """Have everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    # -- the loop

    def run(self) -> None:
        """Do what the plan says until `stop`."""
        while not self._is_stopping:
            if not self.step():
                self._rest()

    def stop(self) -> None:
        """Let `run` return after the action at hand."""
        self._is_stopping = True
        self.wake()

    def step(self) -> bool:
        """Do the one most urgent thing; False when there is none."""
        with self._changed:
            action = self._next()
            if action is None:
                return False
            record = self._records[action.model][action.version]
            # The first move falls under the lock the decision fell under: a version wanted again in between
            # would otherwise be unloaded although wanted, which reads as failed for good.
            match action.deed:
                case Deed.UNLOAD:
                    self._change(record, State.UNLOADING)
                case Deed.GIVE_UP:
                    self._change(record, State.END)
                case Deed.LOAD if record.state is State.START:
                    self._change(record, State.LOADING)
        match action.deed:
            case Deed.LOAD:
                self._load(record)
            case Deed.FREE:
                self._free(record)
        return True

    def _next(self) -> Action | None:
        return next_action([r.standing() for r in self._all()], time.monotonic())

    def _all(self) -> Iterator[Record[S]]:
        return (record for records in self._records.values() for record in records.values())

    def _rest(self) -> None:
        with self._changed:
            # Asked again under the lock that `aspire` takes, so that no change falls between question and sleep.
            if self._is_stopping or self._next() is not None:
                return
            due_s = next_due_s(r.standing() for r in self._all())
            self._changed.wait(None if due_s is None else max(0.0, due_s - time.monotonic()))

    def _load(self, record: Record[S]) -> None:
        record.attempts += 1
        try:
            servable = self._load_servable(record.model, record.version, record.path)
        except Fault as fault:
            self._fail(record, fault)
        except Exception as error:  # noqa: BLE001 - the edge to a model's own code: what it raises ends it, not us
            self._fail(record, Fault(Code.UNKNOWN, f"{type(error).__name__}: {error}"))
        else:
            record.servable = servable
            record.error = None
            self._change(record, State.AVAILABLE)

    def _fail(self, record: Record[S], fault: Fault) -> None:
        _LOG.warning("version %d of %s does not load: %s", record.version, record.model, fault)
        with self._changed:
            record.error = fault
            record.due_s = time.monotonic() + self._retries.interval_s
            if record.attempts > self._retries.count:
                self._change(record, State.END)

    def _free(self, record: Record[S]) -> None:
        servable, record.servable = record.servable, None
        assert servable is not None  # noqa: S101 - UNLOADING follows AVAILABLE only
        servable.close()
        self._change(record, State.END)

    def _change(self, record: Record[S], to: State) -> None:
        with self._changed:
            record.move(to)
            if to is State.END:
                self._reconcile(record.model)
            self._changed.notify_all()
        _LOG.info("version %d of %s is %s", record.version, record.model, to.name)
