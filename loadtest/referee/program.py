"""The program behind `python -m loadtest.referee`: looks, finds terms, lets LoadGen ask, writes what came of it.

Exit code 0 when LoadGen calls every run valid and every answer was right, 1 when not, 2 when it could not run, 130
after Ctrl-C, with the scenarios that were whole.
"""

import argparse
import asyncio
import datetime
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from contracts.atomic import write_atomic
from loadtest.compare.client import Subject, Unreachable
from loadtest.compare.deployment import CannotRun, Deployment, Place, look_at
from loadtest.referee.command_line import ENGINES, read_arguments
from loadtest.referee.detail_log import BadLog
from loadtest.referee.loadgen import NoLoadGen, import_loadgen, loadgen_version
from loadtest.referee.match import find_capacity, make_subject, run_match
from loadtest.referee.results import FORMAT, LABEL, Report, Ruling, describe, encode_report
from loadtest.referee.scenarios import FULL_S, QUICK_S, Capacity, Scenario, Wish, choose_terms

DONE, NOT_GOOD, CANNOT_RUN, INTERRUPTED = 0, 1, 2, 130

_CAPACITY_SHARE = 0.1  # of a scenario's time, twice
_LEAST_CAPACITY_S, _MOST_CAPACITY_S = 0.3, 3.0


def run_program(arguments: Sequence[str], loadgen: Any = None) -> int:
    """Run the command line; returns the exit code. `loadgen`: in place of the installed module."""
    as_json = "--json" in arguments
    try:
        given = read_arguments(arguments)
        module = import_loadgen() if loadgen is None else loadgen
        began_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        deployment = look_at(Place(given.url, given.model, ENGINES, given.repository, given.home, given.seed))
        folder = given.out or given.home / "referee" / began_at.replace(":", "").partition("+")[0]
        report = uvloop.run(_Run(given, module, deployment, folder).run(began_at))
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "referee.json", encode_report(report))
        write_atomic(folder / "referee.txt", describe(report).encode())
    except (NoLoadGen, CannotRun, Unreachable, BadLog, OSError, ValueError) as error:
        return _fail(str(error), as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    sys.stdout.write(encode_report(report).decode() if given.json else describe(report))
    _say(f"the report, and LoadGen's logs: {folder}")
    if report.is_interrupted:
        return INTERRUPTED
    return DONE if report.is_good else NOT_GOOD


def _fail(message: str, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"error": message}) + "\n")
    else:
        _say(f"loadtest.referee: {message}")
    return CANNOT_RUN


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class _Run:
    """All scenarios, one after the other."""

    def __init__(self, given: argparse.Namespace, loadgen: Any, deployment: Deployment, folder: Path) -> None:
        self._given = given
        self._loadgen = loadgen
        self._deployment = deployment
        self._folder = folder
        self._rulings: list[Ruling] = []

    async def run(self, began_at: str) -> Report:
        """Raises CannotRun, Unreachable, BadLog, OSError."""
        given = self._given
        duration_s = given.duration_s or (QUICK_S if given.quick else FULL_S)
        subject = make_subject(self._deployment, given.engine)
        _say(LABEL)
        seconds = min(max(_CAPACITY_SHARE * duration_s, _LEAST_CAPACITY_S), _MOST_CAPACITY_S)
        capacity = await find_capacity(subject, seconds)
        wish = Wish(duration_s, given.slo_ms, given.seed, given.rate)
        is_interrupted = await self._run_all(wish, capacity, subject)
        return self._report(began_at, capacity, is_interrupted)

    async def _run_all(self, wish: Wish, capacity: Capacity, subject: Subject) -> bool:
        """Whether somebody has interrupted it."""
        interrupted = asyncio.get_running_loop().create_future()
        for kind in (signal.SIGINT, signal.SIGTERM):
            _on_signal(kind, interrupted)
        chosen = self._given.scenario or list(Scenario)
        for number, name in enumerate(chosen):
            terms = choose_terms(Scenario(name), wish, capacity)
            left_s = (len(chosen) - number) * wish.duration_s
            _say(f"{number + 1}/{len(chosen)} {name}, {wish.duration_s:g} s; {left_s:.0f} s left")
            match = asyncio.ensure_future(run_match(self._loadgen, terms, subject, self._folder / name))
            await asyncio.wait({match, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if interrupted.done():
                match.cancel()
                await asyncio.gather(match, return_exceptions=True)
                return True
            self._rulings.append(match.result())
        return False

    def _report(self, began_at: str, capacity: Capacity, is_interrupted: bool) -> Report:
        deployment = self._deployment
        return Report(
            format=FORMAT,
            label=LABEL,
            loadgen=loadgen_version(),
            started_at=began_at,
            is_interrupted=is_interrupted,
            url=deployment.url,
            model=deployment.model,
            version=deployment.version,
            engine=self._given.engine,
            implementations={label.engine: label.implementation for label in deployment.labels},
            requests_from=deployment.questions.origin,
            capacity_per_s=capacity.rate_per_s,
            rulings=tuple(self._rulings),
        )


def _on_signal(number: signal.Signals, interrupted: "asyncio.Future[None]") -> None:
    def interrupt() -> None:
        if not interrupted.done():
            _say("stopping; the scenarios that were whole are kept")
            interrupted.set_result(None)

    asyncio.get_running_loop().add_signal_handler(number, interrupt)
