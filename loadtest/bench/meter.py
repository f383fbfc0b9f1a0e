"""Runs one case against one target and reads everything that is told of it."""

import resource
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from contracts.blobs import BadBlob
from contracts.golden import read_golden
from loadtest.bench import dialects
from loadtest.bench.batch_counts import BatchCounts, read_batch_counts
from loadtest.bench.cases import Case
from loadtest.bench.children import LOOPBACK, module_command
from loadtest.bench.dialects import Floats, find_wrong, sample_rows
from loadtest.bench.endpoints import Endpoint, GrpcEndpoint, HttpEndpoint
from loadtest.bench.figures import Figures, Latency
from loadtest.bench.gpu import GpuMemory, read_gpu_memory
from loadtest.bench.jobs import Job, JobReport
from loadtest.bench.lifeline import Lifeline
from loadtest.bench.sampler import Sampler
from loadtest.bench.targets import RawForward
from loadtest.bench.usage import cpu_between, cpu_s, machine_cpu_s, resident_bytes
from loadtest.bench.wrk import BadOutput, WrkReport, parse_wrk, wrk_command

DIFFERENT_REQUESTS = 16
OPEN_LOOP_CONNECTIONS = 256
_MOST_FAULTS = 5
_PATIENCE_S = 60.0


class GeneratorFailed(Exception):
    """A load generator did not do its work; the message has what it said."""


@dataclass(frozen=True)
class Where:
    """What a case asks: who answers, where, and which processes that takes, by name.

    `counted`: the port of a gateway that counts batches, and the engine whose they are.
    """

    implementation: str
    place: Endpoint | RawForward
    processes: Mapping[str, int]
    counted: tuple[int, str] | None = None


@dataclass(frozen=True)
class Known:
    """Images FP32 [N,28,28] and the logits FP32 [N,10] that are right for them."""

    images: Floats
    logits: Floats

    @classmethod
    def read(cls, golden: Path) -> "Known":
        """From a version's golden file. Raises BadDocument, OSError."""
        rows = read_golden(golden)
        return cls(rows.inputs[dialects.INPUT], rows.outputs[dialects.OUTPUT])

    def requests(self, rows: int) -> list[tuple[Floats, Floats]]:
        """What goes in and must come out, for different requests of `rows` images."""
        count = len(self.images)
        chosen = [list(sample_rows(7 * number, rows, count)) for number in range(DIFFERENT_REQUESTS)]
        return [(self.images[indices], self.logits[indices]) for indices in chosen]


class Meter:
    """`wrk` is the program for closed loops over HTTP; None: our own generator.

    `lifeline` ends generators that outlive this process. `has_gpu`: the GPU's memory is read too.
    """

    def __init__(
        self, known: Known, folder: Path, wrk: str | None, lifeline: Lifeline | None = None, *, has_gpu: bool = False
    ) -> None:
        self._known = known
        self._folder = folder
        self._wrk = wrk
        self._holding = lifeline.holding if lifeline else _holding_nothing
        self._has_gpu = has_gpu
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, case: Case, where: Where, seconds: int, warmup_s: int, rate_per_s: float | None = None) -> Figures:
        """Measure for that long, after a warm-up. Raises GeneratorFailed, NotStarted, OSError, ValueError."""
        counted_before = _batch_counts(where)
        started, busy_before = time.monotonic(), machine_cpu_s()
        ours_before = sum(cpu_s(where.processes).values()) + _own_cpu_s()
        figures = self._run(case, where, seconds, warmup_s, rate_per_s)
        ours = sum(cpu_s(where.processes).values()) + _own_cpu_s() - ours_before
        others = (machine_cpu_s() - busy_before - ours) / (time.monotonic() - started)
        counted = _batch_counts(where).since(counted_before)
        gpu = read_gpu_memory(where.processes) if self._has_gpu else GpuMemory()
        return msgspec.structs.replace(
            figures,
            other_cores=max(0.0, others),
            batches=counted.batches,
            batched_rows=counted.rows,
            gpu_bytes=gpu.own_bytes,
            gpu_card_bytes=gpu.card_bytes,
        )

    def _run(self, case: Case, where: Where, seconds: int, warmup_s: int, rate_per_s: float | None) -> Figures:
        if isinstance(where.place, RawForward):
            return self._forward(case, where, where.place, seconds)
        if isinstance(where.place, HttpEndpoint) and self._wrk is not None and rate_per_s is None:
            return self._by_wrk(self._wrk, case, where, where.place, seconds, warmup_s)
        return self._by_own(case, where, where.place, seconds, warmup_s, rate_per_s)

    def _forward(self, case: Case, where: Where, forward: RawForward, seconds: int) -> Figures:
        before = cpu_s(where.processes)
        took_s, latencies_s = forward.run(case.rows, seconds)
        return Figures(
            where.implementation,
            "none",
            len(latencies_s),
            case.rows,
            took_s,
            Latency.of(latencies_s),
            cpu_s=cpu_between(before, cpu_s(where.processes)),
            resident_bytes=resident_bytes(where.processes),
        )

    def _by_wrk(
        self, wrk: str, case: Case, where: Where, endpoint: HttpEndpoint, seconds: int, warmup_s: int
    ) -> Figures:
        requests = self._known.requests(case.rows)
        files = [self._folder / f"request-{number}" for number in range(len(requests))]
        for file, (images, _) in zip(files, requests, strict=True):
            file.write_bytes(endpoint.encode(images))
        if warmup_s:
            self._wrk_once(wrk_command(wrk, endpoint.url, case.connections, warmup_s, files), warmup_s)
        judge = _Judge(endpoint, requests)
        before, own_before = cpu_s(where.processes), _children_cpu_s()
        with Sampler(endpoint, [images for images, _ in requests], judge.find_fault) as sampler:
            report = self._wrk_once(wrk_command(wrk, endpoint.url, case.connections, seconds, files), seconds)
        return Figures(
            where.implementation,
            "wrk",
            report.answered,
            case.rows,
            report.seconds,
            report.latency,
            report.errors,
            wrong=len(sampler.faults),
            checked=sampler.checked,
            faults=tuple(sampler.faults[:_MOST_FAULTS]),
            cpu_s=cpu_between(before, cpu_s(where.processes)),
            generator_cpu_s=_children_cpu_s() - own_before,
            resident_bytes=resident_bytes(where.processes),
        )

    def _by_own(
        self, case: Case, where: Where, endpoint: Endpoint, seconds: int, warmup_s: int, rate_per_s: float | None
    ) -> Figures:
        requests = self._known.requests(case.rows)
        is_grpc = isinstance(endpoint, GrpcEndpoint)
        job = Job(
            LOOPBACK,
            endpoint.port,
            tuple(endpoint.encode(images) for images, _ in requests),
            OPEN_LOOP_CONNECTIONS if rate_per_s else case.connections,
            seconds,
            warmup_s,
            rate_per_s,
            seed=time.monotonic_ns() % 2**32,
            method=endpoint.method if isinstance(endpoint, GrpcEndpoint) else "",
            metadata=endpoint.metadata if isinstance(endpoint, GrpcEndpoint) else (),
        )
        name = "grpc_generator" if is_grpc else "http_generator"
        before, own_before = cpu_s(where.processes), _children_cpu_s()
        command = module_command(f"loadtest.bench.{name}")
        output = self._generate(command, msgspec.json.encode(job), seconds + warmup_s + job.drain_s + _PATIENCE_S)
        report = msgspec.json.decode(output, type=JobReport)
        # The generator's start and the warm-up are in these, so they are scaled to the time that was measured.
        share = seconds / (seconds + warmup_s)
        used = {key: value * share for key, value in cpu_between(before, cpu_s(where.processes)).items()}
        judge = _Judge(endpoint, requests)
        faults = [f for s in report.samples if (f := judge.find_fault(s.request, s.body, s.header_length))]
        statuses = [f"{count} times {status}" for status, count in report.statuses.items()]
        return Figures(
            where.implementation,
            "grpc.aio" if is_grpc else "own",
            report.answered,
            case.rows,
            report.seconds,
            report.latency,
            report.errors,
            wrong=len(faults),
            checked=len(report.samples),
            faults=tuple((*statuses, *faults)[:_MOST_FAULTS]),
            cpu_s=used,
            generator_cpu_s=(_children_cpu_s() - own_before) * share,
            resident_bytes=resident_bytes(where.processes),
            rate_per_s=rate_per_s,
            lag_ms=report.lag_ms,
        )

    def _wrk_once(self, command: list[str], seconds: int) -> WrkReport:
        try:
            return parse_wrk(self._generate(command, b"", seconds + _PATIENCE_S).decode(errors="replace"))
        except BadOutput as error:
            raise GeneratorFailed(f"wrk: {error}") from error

    def _generate(self, command: list[str], given: bytes, timeout_s: float) -> bytes:
        # A session of its own: Ctrl-C is for the bench, which then ends this child itself.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                with self._holding(process.pid):
                    output, said = process.communicate(given, timeout_s)
            except BaseException as error:
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise GeneratorFailed(f"{command[0]} did not end within {timeout_s:g} s") from error
                raise
        if process.returncode:
            raise GeneratorFailed(f"{' '.join(command[:3])} ended with {process.returncode}: {said[-1000:].decode()}")
        return output


class _Judge:
    def __init__(self, endpoint: Endpoint, requests: list[tuple[Floats, Floats]]) -> None:
        self._endpoint = endpoint
        self._expected = [logits for _, logits in requests]

    def find_fault(self, number: int, body: bytes, header_length: str | None) -> str:
        """What is wrong with the answer to request `number`; empty when it is right."""
        try:
            answer = self._endpoint.dialect.decode(body, header_length)
        except (ValueError, KeyError, TypeError, DecodeError, BadBlob) as error:
            return f"no answer of this protocol: {type(error).__name__}: {error}"
        return find_wrong(self._expected[number], answer)


def _batch_counts(where: Where) -> BatchCounts:
    return read_batch_counts(*where.counted) if where.counted else BatchCounts()


@contextmanager
def _holding_nothing(_group: int) -> Iterator[None]:
    yield


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + _children_cpu_s()


def _children_cpu_s() -> float:
    """Processor seconds of all children of ours that have ended: between two readings, those of the generator."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
