"""What is done to the platform while it is under load: versions swapped, an engine killed; and undone in the end."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gevent.event import Event

from loadtest.admin import OperatorError
from loadtest.scenarios.asking import clock
from loadtest.scenarios.engine_processes import CannotKill, find_engine, kill_engine
from loadtest.scenarios.live_versions import LiveVersions
from loadtest.scenarios.operators import Operator
from loadtest.scenarios.options import Options
from loadtest.scenarios.shapes import KILL_AT
from loadtest.scenarios.summaries import Incident
from loadtest.scenarios.target import opener_for

LEAD_S = 1.0
"""Load before the first swap."""

GAP_S = 1.0
"""Load between two swaps."""

BACK_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.2
_LOOK_TIMEOUT_S = 5.0

Say = Callable[[str], None]


class CannotDisturb(Exception):
    """The scenario is impossible here; the message says why."""


class Disturbing(Protocol):
    """`run` returns once `stop` is set and all is as it was before. What it did is in `incidents`."""

    incidents: list[Incident]

    def run(self, started_at: float, stop: Event) -> None: ...


class Swaps:
    """Promotes the live version and one other in turn, and puts back the one that was live.

    As many versions stay loaded behind the live one as before: none, unless an operator keeps some, so that every swap
    loads its version under load. Raises CannotDisturb when there is no other version.
    """

    def __init__(self, operator: Operator, live: LiveVersions, duration_s: float, say: Say) -> None:
        try:
            shown, self._keep = operator.show()
        except OperatorError as error:
            raise CannotDisturb(str(error)) from error
        others = sorted(version for version in shown.ledgers if version != shown.live)
        if not others:
            raise CannotDisturb(f"hot-swap needs two published versions, there is only {shown.live}")
        self._operator = operator
        self._live = live
        self._duration_s = duration_s
        self._say = say
        self._at_first, self._other = shown.live, others[-1]
        self.incidents: list[Incident] = []

    def run(self, started_at: float, stop: Event) -> None:
        """See Disturbing. It swaps at least once, and begins no swap that would probably outlast the load."""
        current = self._at_first
        self._live.may_be(started_at, current)
        longest_s = 0.0
        try:
            is_stopped = stop.wait(LEAD_S)
            while not is_stopped and (
                not self.incidents or clock() - started_at + longest_s + GAP_S < self._duration_s
            ):
                wanted = self._other if current == self._at_first else self._at_first
                began_at = clock()
                if not self._promote(current, wanted, started_at):
                    break
                current = wanted
                longest_s = max(longest_s, clock() - began_at)
                is_stopped = stop.wait(GAP_S)
            stop.wait()
        finally:
            self._put_back(current, started_at)

    def _promote(self, live: int, version: int, started_at: float) -> bool:
        began_at = clock()
        self._live.may_be(began_at, live, version)
        fault, phases = "", {}
        try:
            phases = dict(self._operator.promote(version, self._keep).phases)
            self._live.may_be(clock(), version)
        except OperatorError as error:
            fault = str(error)
        incident = Incident(f"promote {version}", began_at - started_at, clock() - began_at, fault, phases)
        self.incidents.append(incident)
        self._say(f"version {version}: {fault or f'live after {incident.seconds:.2f} s'}")
        return not fault

    def _put_back(self, current: int, started_at: float) -> None:
        """A promote that failed may have been done after all: the gateway knows."""
        with suppress(OperatorError):
            current = self._operator.show()[0].live
        if current != self._at_first:
            self._promote(current, self._at_first, started_at)


class Kill:
    """kill -9 of one engine; then it must come back, and take requests again. Raises CannotDisturb."""

    def __init__(self, options: Options, say: Say) -> None:
        self._options = options
        self._say = say
        try:
            process = find_engine(options.home, options.url, options.kill)
        except CannotKill as error:
            raise CannotDisturb(str(error)) from error
        if not options.is_confirmed:
            raise CannotDisturb(
                f"engine-kill kills {options.kill}, pid {process.pid}, with -9: say --yes if you mean it"
            )
        self.incidents: list[Incident] = []

    def run(self, started_at: float, stop: Event) -> None:
        """See Disturbing."""
        if stop.wait(KILL_AT * (self._options.duration_s or 0.0)):
            return
        options, began_at = self._options, clock()
        fault = ""
        try:
            killed = find_engine(options.home, options.url, options.kill)
            kill_engine(killed)
            self._say(f"{options.kill}, pid {killed.pid}, is killed")
            fault = self._wait_until_back(killed.pid, began_at)
        except CannotKill as error:
            fault = str(error)
        incident = Incident(
            f"kill -9 of {options.kill}, until it is back", began_at - started_at, clock() - began_at, fault
        )
        self.incidents.append(incident)
        self._say(f"{options.kill}: {fault or f'back after {incident.seconds:.1f} s'}")
        stop.wait()

    def _wait_until_back(self, pid: int, began_at: float) -> str:
        pause = Event()
        while clock() - began_at < BACK_TIMEOUT_S:
            try:
                now = find_engine(self._options.home, self._options.url, self._options.kill)
            except CannotKill as error:
                now, reason = None, str(error)
            else:
                reason = "it is not ready"
            if now and now.is_ready and now.pid != pid and is_engine_up(self._options.url, self._options.kill):
                return ""
            pause.wait(_LOOK_EVERY_S)
        return f"not back after {BACK_TIMEOUT_S:g} s: {reason}"


def is_engine_up(url: str, engine: str) -> bool:
    """Whether the gateway routes to an engine, as its metrics say."""
    try:
        with opener_for(url).open(f"{url}/metrics", timeout=_LOOK_TIMEOUT_S) as response:
            text = response.read().decode()
    except (OSError, ValueError):
        return False
    values = re.findall(rf'^twinserve_engine_up{{[^}}]*engine="{engine}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return bool(values) and all(float(value) == 1 for value in values)
