"""What a factor measures with, and the runner that starts its workers: each framework in a process of its own."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from contracts.findings import Finding, decode_finding
from loadtest.bench.children import module_command
from loadtest.bench.lifeline import Lifeline
from loadtest.factors.rows import FRAMEWORKS, Row, missing_row, row_of
from loadtest.factors.versions import Platform

ROOT = Path(__file__).resolve().parents[2]
_LAST_LINES = 3
_LONGEST_FAULT = 400
INTERRUPT_TIMEOUT_S = 30.0
"""For a process that Ctrl-C reaches to tell what it has, before it is killed."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: what it wrote, and why it is not to be trusted, or nothing."""

    output: str
    fault: str = ""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while a process ran; `output` is what it had written."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.output = output


class Runner(Protocol):
    """Runs a module in a process of its own. Raises Interrupted, and OSError when it cannot be started."""

    def run(self, module: str, arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> Ended: ...


@dataclass(frozen=True)
class Workplace:
    """How to measure. `platform` is a running one, whose versions may take turns; `data` a folder of MNIST's files.

    `environment` is what every process gets.
    """

    runner: Runner
    environment: Mapping[str, str]
    is_quick: bool = False
    platform: Platform | None = None
    data: Path | None = None
    weights: Path = ROOT / "workers" / "weights" / "mnist" / "2.safetensors"
    sources: Path = ROOT

    def measure(self, factor: str, task: str, timeout_s: float) -> Iterator[Row]:
        """The findings of `workers.<framework>.factors.<task>` of both frameworks, one after the other."""
        for framework in FRAMEWORKS:
            yield from self.measure_one(factor, framework, task, timeout_s)

    def measure_one(
        self, factor: str, framework: str, task: str, timeout_s: float, settings: Mapping[str, str] | None = None
    ) -> Iterator[Row]:
        """The findings of one framework; `settings` are added to the environment. What went wrong is a row too."""
        name = FRAMEWORKS[framework]
        with tempfile.TemporaryDirectory(prefix="twinserve-factors-") as scratch:
            arguments = ["--weights", str(self.weights), "--scratch", scratch, "--begun-at", str(time.monotonic())]
            arguments += ["--data", str(self.data)] if self.data else []
            arguments += ["--quick"] if self.is_quick else []
            module, environment = f"workers.{framework}.factors.{task}", {**self.environment, **(settings or {})}
            try:
                ended = self.runner.run(module, arguments, timeout_s, environment)
            except Interrupted as interruption:
                yield from (row_of(factor, name, finding) for finding in findings_in(interruption.output))
                raise
        yield from (row_of(factor, name, finding) for finding in findings_in(ended.output))
        if ended.fault:
            yield missing_row(factor, name, "what is not above", ended.fault)


def findings_in(output: str) -> list[Finding]:
    """What a worker found out, among everything that it printed."""
    return [finding for line in output.splitlines() if (finding := decode_finding(line))]


class ProcessRunner:
    """The real one. What it starts ends with it: at a timeout, by Ctrl-C, or when this process is killed."""

    def __init__(self, lifeline: Lifeline) -> None:
        self._lifeline = lifeline

    def run(self, module: str, arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> Ended:
        """Raises Interrupted, and OSError when it cannot be started."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                module_command(module, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            fault = ""
            with self._lifeline.holding(process.pid):
                try:
                    code = process.wait(timeout_s)
                    fault = f"{module} ended with {code}" if code else ""
                except subprocess.TimeoutExpired:
                    fault = f"{module} did not end in {timeout_s:g} s"
                    _interrupt(process)
                except KeyboardInterrupt:
                    with suppress(KeyboardInterrupt):  # a second one ends it at once
                        _interrupt(process)
                    raise Interrupted(_text(output)) from None
                finally:
                    _end_group(process)
            return Ended(_text(output), fault and _with_log(fault, _text(log)))


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C does: who changes a platform, or has processes of its own, ends that in its own way."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(INTERRUPT_TIMEOUT_S)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of the worker and of all that it started; what it found out is told as it comes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _with_log(fault: str, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()][-_LAST_LINES:]
    return f"{fault}: {' | '.join(lines)}"[:_LONGEST_FAULT] if lines else fault
