"""`python -m loadtest.bench`: compare the gateway with the engines alone, a rival in one process, and the bare model.

Exit code 0 when everything was measured and every answer was right; 1 when not; 130 after Ctrl-C, which stops all that
was started and writes what there is.
"""

import os
import resource
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from contracts.atomic import write_atomic
from loadtest.bench.children import NotStarted
from loadtest.bench.document import markdown
from loadtest.bench.gpu import Gpu, NoGpu, find_gpu
from loadtest.bench.gpu_cases import QUEUE_ROWS, make_gpu_plan
from loadtest.bench.lifeline import Lifeline
from loadtest.bench.machine import Machine
from loadtest.bench.meter import GeneratorFailed, Known, Meter
from loadtest.bench.orders import Orders, parse_orders
from loadtest.bench.parity import Parity
from loadtest.bench.parity_run import measure_parity
from loadtest.bench.plan import make_plan, reckon_s
from loadtest.bench.program import Program, clock
from loadtest.bench.results import Report
from loadtest.bench.stage import Stage
from loadtest.bench.targets import Folders
from loadtest.bench.wrk import find_wrk

FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    orders = parse_orders(arguments)
    if orders.tables:
        return _print_tables(orders.tables)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        gpu = find_gpu() if orders.on_gpu else None
    except NoGpu as error:
        return _fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return Bench(orders, gpu).run()


class Bench:
    """One bench from its start to its report."""

    def __init__(self, orders: Orders, gpu: Gpu | None) -> None:
        self._orders = orders
        self._gpu = gpu
        self._parity: tuple[Parity, ...] = ()
        self._wrk = find_wrk() if orders.may_use_wrk else None
        lengths = orders.lengths
        plan = make_gpu_plan(lengths) if gpu else make_plan(orders.parts, lengths, orders.names)
        self._program = Program(plan, lengths, _say)

    def run(self) -> int:
        """Measure, write, print; returns the exit code."""
        machine, started_at = Machine.read(), datetime.now(UTC).isoformat(timespec="seconds")
        _allow_connections()
        plan, lengths = self._program.plan, self._program.lengths
        _say(f"{len(plan.steps)} runs, some {clock(reckon_s(plan, lengths))} minutes")
        code = 0
        try:
            self._measure()
        except KeyboardInterrupt:
            code = INTERRUPTED
        except (NotStarted, GeneratorFailed, OSError, ValueError) as error:
            code = _fail(error)
        return self._tell(self._report(machine, started_at, is_interrupted=code == INTERRUPTED), code)

    def _measure(self) -> None:
        folders, program = Folders(self._orders.home.resolve()), self._program
        settings = {"TWINSERVE_QUEUE_ROWS": str(QUEUE_ROWS)} if self._gpu else {}
        given = {name: value for name, value in settings.items() if name not in os.environ}
        with Lifeline() as lifeline, Stage(folders, program.plan.targets, lifeline, _say, given) as stage:
            known = Known.read(folders.version.golden)
            if self._gpu:
                self._parity = measure_parity(stage, known)
            program.run(stage, Meter(known, folders.home / "requests", self._wrk, lifeline, has_gpu=bool(self._gpu)))

    def _report(self, machine: Machine, started_at: str, *, is_interrupted: bool) -> Report:
        lengths, generator = self._program.lengths, "wrk" if self._wrk else "our own generator"
        return Report(
            machine,
            f"{lengths.pairs} pairs of {lengths.seconds} s, closed HTTP loops by {generator}",
            started_at,
            is_interrupted,
            self._program.results(),
            tuple(self._program.runs),
            self._program.tuning,
            int(os.environ.get("TWINSERVE_GATEWAY_PROCESSES") or 1),
            self._gpu,
            self._parity,
        )

    def _tell(self, report: Report, code: int) -> int:
        if not (report.runs or report.parity):  # an earlier file says more than nothing
            _say("nothing was measured, and nothing written")
            return code or FAILED
        file = self._orders.json_file
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        sys.stdout.write(markdown(report))
        _say(f"all figures are in {file}; python -m loadtest.bench --tables FILE prints these tables again")
        return code or (FAILED if report.faults else 0)


def _print_tables(file: Path) -> int:
    try:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        return _fail(f"{file} is no report of a bench: {error}")
    sys.stdout.write(markdown(report))
    return 0


def _fail(why: object) -> int:
    _say(f"loadtest.bench: {why}")
    return FAILED


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _allow_connections() -> None:
    """1,000 connections are as many open files: raise the limit of this process and its children as far as we may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
