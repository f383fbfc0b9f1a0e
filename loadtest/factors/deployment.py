"""Deployment: cold start, and with a running platform's URL what a swap costs and what two versions hold in memory.

A promote loads the version in both engines, so its time belongs to neither; which engine answers meanwhile is forced.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from loadtest.factors.rows import TENSORFLOW, TORCH, Row, missing_row
from loadtest.factors.versions import Platform
from loadtest.factors.workplace import Workplace
from loadtest.swap_report import SwapReport
from loadtest.turns import CannotTakeTurns, Found

NAME, BOTH = "deployment", "both"
TIMEOUT_S = 600.0
ENGINES: Mapping[str, str] = {"torchserve": TORCH, "tfserving": TENSORFLOW}
RATE_PER_S = 50
PROMOTES, QUICK_PROMOTES = 6, 2
_NO_PLATFORM = "needs a running `make up`: name its gateway with --url"
_LOADED = {0: "the other version is unloaded", 1: "the other version stays loaded"}
_HELD = {0: "one version", 1: "two versions"}


class _Engine(msgspec.Struct, frozen=True):
    engine: str
    memory_bytes: int | None = None


class _Status(msgspec.Struct, frozen=True):
    engines: tuple[_Engine, ...]


@dataclass(frozen=True)
class _Run:
    """What one run of loadtest.swaps told; `fault` says why its promotes do not count."""

    report: SwapReport | None
    fault: str


def measure(workplace: Workplace) -> Iterator[Row]:
    """Cold starts in processes of ours; the rest of the workplace's platform, which is left as it was found."""
    yield from workplace.measure(NAME, "cold_start", TIMEOUT_S)
    platform = workplace.platform
    if platform is None:
        yield from _nothing(_NO_PLATFORM)
        return
    try:
        found = platform.find()
    except (CannotTakeTurns, OSError) as error:
        yield from _nothing(str(error))
        return
    fault = ""
    try:
        # Each promote leaves that many others loaded: first none, so that one is loaded, then one, as it is used.
        for keep in _LOADED:
            yield from _turns(workplace, platform, found, keep)
    finally:
        fault = platform.put_back(found)
        if fault:
            sys.stderr.write(f"loadtest.factors: {fault}\n")
    if fault:
        yield missing_row(NAME, BOTH, "the platform as it was before", fault)


def _nothing(why: str) -> Iterator[Row]:
    yield missing_row(NAME, BOTH, "a promote under load", why)
    for framework in ENGINES.values():
        for what in ("requests while versions take turns", "memory with one and with two versions"):
            yield missing_row(NAME, framework, what, why)


def _turns(workplace: Workplace, platform: Platform, found: Found, keep: int) -> Iterator[Row]:
    runs = {}
    for engine, framework in ENGINES.items():
        runs[framework] = run = _run(workplace, platform, found, engine, keep)
        yield from _request_rows(run, framework, keep)
    yield _promote_row(list(runs.values()), keep)
    faults = [run.fault for run in runs.values() if run.fault]
    yield from _memory(workplace, platform, f"memory with {_HELD[keep]} loaded", faults[0] if faults else "")


def _run(workplace: Workplace, platform: Platform, found: Found, engine: str, keep: int) -> _Run:
    promotes = QUICK_PROMOTES if workplace.is_quick else PROMOTES
    arguments = ["--json", "--engine", engine, "--keep", str(keep), "--promotes", str(promotes)]
    arguments += ["--versions", str(found.live), str(found.other), "--rate", str(RATE_PER_S)]
    arguments += ["--url", platform.url, "--model", platform.model, "--repository", str(platform.repository)]
    ended = workplace.runner.run("loadtest.swaps", arguments, TIMEOUT_S, _environment(workplace, platform))
    try:
        report = msgspec.json.decode(ended.output.encode(), type=SwapReport)
    except msgspec.DecodeError:
        return _Run(None, ended.fault or "loadtest.swaps told nothing")
    # Its exit code is 1 for requests that failed too, and those are a row.
    return _Run(report, find_fault(report) or ("" if not report.is_good else ended.fault))


def find_fault(report: SwapReport) -> str:
    """Why a run says nothing about promotes or about requests during them, or nothing."""
    if report.is_interrupted:
        return "loadtest.swaps was interrupted"
    if not report.swaps:
        return "no promote was made"
    if report.failed_swaps:
        first = next(swap.fault for swap in report.swaps if swap.fault)
        return f"{report.failed_swaps} of {len(report.swaps)} promotes failed: {first}"
    if not report.offered:
        return "no request was made"
    return f"the gateway's ledger differs from our count: {report.ledger_fault}" if report.ledger_fault else ""


def _request_rows(run: _Run, framework: str, keep: int) -> Iterator[Row]:
    """What one engine's requests met while both engines loaded versions."""
    report, kept = run.report, _LOADED[keep]
    if report is None or run.fault:
        yield missing_row(NAME, framework, f"requests while versions take turns ({kept})", run.fault)
        return
    how = (
        f"loadtest.swaps, {len(report.swaps)} promotes at {RATE_PER_S} requests a second to this engine alone; "
        f"a promote loads the version in both engines; {kept}"
    )
    gap = report.failures + report.lost + report.not_sent
    yield Row(NAME, framework, f"requests without an answer ({kept})", gap, f"of {report.offered}", how)
    yield Row(NAME, framework, f"wrong or stale answers ({kept})", report.wrong + report.stale, "answers", how)
    if gap or report.wrong:
        why = f"{gap} requests had no answer and {report.wrong} a wrong one: the others' latency says too little"
        yield missing_row(NAME, framework, f"latency while versions take turns ({kept})", why)
        return
    for where, seen in (("during swaps", report.inside), ("between swaps", report.outside)):
        if seen.count:
            yield Row(NAME, framework, f"p99 {where} ({kept})", seen.p99_ms, "ms", f"{how}; {seen.count} requests")
    if report.inside.count:
        yield Row(NAME, framework, f"longest wait during swaps ({kept})", report.inside.max_ms, "ms", how)


def _promote_row(runs: list[_Run], keep: int) -> Row:
    """One for both: a promote is done when the version is loaded in the one engine and in the other."""
    what = f"a promote, median ({_LOADED[keep]})"
    seconds = [swap.seconds for run in runs if run.report and not run.fault for swap in run.report.swaps]
    if not seconds:
        return missing_row(NAME, BOTH, what, runs[0].fault)
    how = f"{len(seconds)} promotes at {RATE_PER_S} requests a second; each loads the version in both engines"
    return Row(NAME, BOTH, what, statistics.median(seconds), "s", f"{how}; {_LOADED[keep]}")


def _memory(workplace: Workplace, platform: Platform, what: str, fault: str) -> Iterator[Row]:
    if fault:  # what is loaded then is not what the row would say
        for framework in ENGINES.values():
            yield missing_row(NAME, framework, what, f"the promotes before: {fault}")
        return
    arguments = ["status", "--json", "--url", platform.url]
    ended = workplace.runner.run("twinserve", arguments, 60.0, _environment(workplace, platform))
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


def _environment(workplace: Workplace, platform: Platform) -> Mapping[str, str]:
    """With the folder where the operators' token lies."""
    return {**workplace.environment, "TWINSERVE_HOME": str(platform.home)}
