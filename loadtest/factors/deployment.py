"""Deployment: cold start, and with a running platform's URL what a swap costs and what two versions hold in memory."""

from collections.abc import Iterator, Mapping

import msgspec

from loadtest.factors.rows import TENSORFLOW, TORCH, Row, missing_row
from loadtest.factors.workplace import Workplace
from loadtest.swap_report import SwapReport

NAME = "deployment"
TIMEOUT_S = 600.0
ENGINES: Mapping[str, str] = {"torchserve": TORCH, "tfserving": TENSORFLOW}
RATE_PER_S = 50
PROMOTES, QUICK_PROMOTES = 6, 2
_NO_PLATFORM = "needs a running `make up`: name its gateway with --url"


class _Engine(msgspec.Struct, frozen=True):
    engine: str
    memory_bytes: int | None = None


class _Status(msgspec.Struct, frozen=True):
    engines: tuple[_Engine, ...]


def measure(workplace: Workplace) -> Iterator[Row]:
    """Cold starts in processes of ours; the rest of the platform at the workplace's URL, whose versions take turns."""
    yield from workplace.measure(NAME, "cold_start", TIMEOUT_S)
    if workplace.url is None:
        for framework in ENGINES.values():
            for what in ("swap under load", "memory with one and with two versions"):
                yield missing_row(NAME, framework, what, _NO_PLATFORM)
        return
    # Each promote leaves that many others loaded: first none, so that one is loaded, then one, as the platform is used.
    for engine, framework in ENGINES.items():
        yield from _swaps(workplace, engine, framework, keep=0)
    yield from _memory(workplace, "one version", workplace.url)
    for engine, framework in ENGINES.items():
        yield from _swaps(workplace, engine, framework, keep=1)
    yield from _memory(workplace, "two versions", workplace.url)


def _swaps(workplace: Workplace, engine: str, framework: str, keep: int) -> Iterator[Row]:
    promotes = QUICK_PROMOTES if workplace.is_quick else PROMOTES
    arguments = ["--json", "--engine", engine, "--keep", str(keep), "--promotes", str(promotes)]
    arguments += ["--rate", str(RATE_PER_S), "--url", str(workplace.url)]
    ended = workplace.runner.run("loadtest.swaps", arguments, TIMEOUT_S, workplace.environment)
    try:
        report = msgspec.json.decode(ended.output.encode(), type=SwapReport)
    except msgspec.DecodeError:
        yield missing_row(
            NAME, framework, f"swap under load, {keep} kept", ended.fault or "loadtest.swaps told nothing"
        )
        return
    yield from swap_rows(report, framework, keep)


def swap_rows(report: SwapReport, framework: str, keep: int) -> Iterator[Row]:
    """What one run of loadtest.swaps says of a framework's engine."""
    kept = "the other version is unloaded" if keep == 0 else "the other version stays loaded"
    how = f"loadtest.swaps, {len(report.swaps)} promotes at {RATE_PER_S} requests a second to this engine alone; {kept}"
    gap = report.failures + report.lost + report.not_sent
    yield Row(NAME, framework, f"requests without an answer ({kept})", gap, f"of {report.offered}", how)
    yield Row(NAME, framework, f"wrong or stale answers ({kept})", report.wrong + report.stale, "answers", how)
    if "promote" in report.swap_seconds:
        yield Row(NAME, framework, f"a promote, median ({kept})", report.swap_seconds["promote"].median_s, "s", how)
    for where, seen in (("during swaps", report.inside), ("between swaps", report.outside)):
        if seen.count:
            yield Row(NAME, framework, f"p99 {where} ({kept})", seen.p99_ms, "ms", f"{how}; {seen.count} requests")
    if report.inside.count:
        yield Row(NAME, framework, f"longest wait during swaps ({kept})", report.inside.max_ms, "ms", how)


def _memory(workplace: Workplace, held: str, url: str) -> Iterator[Row]:
    what = f"memory with {held} loaded"
    ended = workplace.runner.run("twinserve", ["status", "--json", "--url", url], 60.0, workplace.environment)
    try:
        known = {seen.engine: seen.memory_bytes for seen in msgspec.json.decode(ended.output, type=_Status).engines}
    except msgspec.DecodeError:
        known = {}
    for engine, framework in ENGINES.items():
        if used := known.get(engine):
            how = "the engine's processes together, as `twinserve status --json` tells after the swaps"
            yield Row(NAME, framework, what, used / 1e6, "MB", how)
        else:
            why = ended.fault or "the gateway does not tell: only `twinserve up` on its own machine measures it"
            yield missing_row(NAME, framework, what, why)
