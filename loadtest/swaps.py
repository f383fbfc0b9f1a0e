"""`python -m loadtest.swaps`: promote two versions in turn under a steady load, and say what it did to the requests.

Exit code 0 only when every request got the right answer, every swap was done and the gateway's ledger agrees with
our own count; 1 when not, or when nothing could be measured; 130 after Ctrl-C, which reports what there is.
"""

import argparse
import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.addresses import LOOPBACK, Ports
from contracts.layout import ModelPaths
from loadtest.admin import Gateway, OperatorError
from loadtest.known_answers import KnownAnswers
from loadtest.latencies import Quantiles, Ratio
from loadtest.open_loop import Target
from loadtest.swap_report import SwapReport
from loadtest.swap_run import SwapPlan, SwapRun

INTERRUPTED = 130


@dataclass(frozen=True)
class Defaults:
    """What the environment says: where the gateway is, its operators' token and its repository."""

    url: str
    token: str | None
    token_file: Path
    repository: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Defaults":
        """Raises ValueError for a port that is none."""
        home = Path(environment.get("TWINSERVE_HOME") or ".twinserve")
        here = f"http://{LOOPBACK}:{Ports.from_environment(environment).http}"
        return cls(
            url=environment.get("TWINSERVE_URL") or here,
            token=environment.get("TWINSERVE_ADMIN_TOKEN") or None,
            token_file=Path(environment.get("TWINSERVE_ADMIN_TOKEN_FILE") or home / "admin-token"),
            repository=Path(environment.get("TWINSERVE_REPOSITORY") or "model_repo"),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        defaults = Defaults.read(os.environ)
        given = _parser(defaults).parse_args(arguments)
        _allow_connections(given.most_outstanding)
        report = asyncio.run(_run(given, _token(given, defaults)))
    except (OperatorError, OSError, ValueError) as error:
        sys.stderr.write(f"loadtest.swaps: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    sys.stdout.write(_encode(report) if given.json else describe(report))
    if report.is_interrupted:
        return INTERRUPTED
    return 0 if report.is_good else 1


async def _run(given: argparse.Namespace, token: str) -> SwapReport:
    """Raises OperatorError, OSError, ValueError."""
    versions = given.versions or ModelPaths(given.repository, given.model).published()[-2:]
    if len(set(versions)) != 2:
        raise ValueError(f"needs two versions of {given.model}, {given.repository} has {versions or 'none'}")
    known = KnownAnswers.read(given.repository, given.model, versions)
    plan = SwapPlan(
        versions=(versions[0], versions[1]),
        rate_per_s=given.rate,
        promotes=given.promotes,
        keep=given.keep,
        is_rolled_back=given.rollback_after_each,
        lead_s=given.lead_s,
        gap_s=given.gap_s,
        seed=given.seed,
    )
    url = given.url.rstrip("/")
    target = Target(url, given.model, given.engine, given.most_outstanding, given.timeout_s)
    run = SwapRun(plan, Gateway(url, token), target, known, _say)
    return await run.run(_interruption())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _interruption() -> asyncio.Event:
    """Set by the first Ctrl-C; the second ends the program as usual."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        loop.remove_signal_handler(signal.SIGINT)
        sys.stderr.write("stopping; a swap under way goes on at the gateway. Ctrl-C again ends at once\n")

    loop.add_signal_handler(signal.SIGINT, interrupt)
    return interrupted


def _token(given: argparse.Namespace, defaults: Defaults) -> str:
    """The file that was named, else the variable, else the file that `twinserve up` wrote. Raises OSError."""
    if given.token_file is None and defaults.token:
        return defaults.token
    return (given.token_file or defaults.token_file).read_text().strip()


def _allow_connections(most_outstanding: int) -> None:
    """An answer owed is a connection held: raise the limit of open files as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most_outstanding + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _encode(report: SwapReport) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def describe(report: SwapReport) -> str:
    """A report for a person."""
    ledger = ", ".join(f"version {v} {seen.answered} of {seen.accepted}" for v, seen in report.ledger.items())
    versions = ", ".join(f"version {v} {n}" for v, n in sorted(report.by_version.items()))
    engines = ", ".join(f"{engine} {n}" for engine, n in sorted(report.by_engine.items()))
    seconds = {**report.swap_seconds, **{f"  {name}": spread for name, spread in report.phase_seconds.items()}}
    lines = [
        f"requests  {report.offered} offered, {report.answered} answered, {report.failures} failed, "
        f"{report.lost} lost, {report.not_sent} not sent, {report.wrong} wrong",
        f"answers   {versions or 'none'}; {engines or 'none'}; {report.stale} of a version that was no longer live",
        f"ledger    {'agrees' if not report.ledger_fault else report.ledger_fault} (answered of accepted: {ledger})",
        f"swaps     {len(report.swaps)}, {report.failed_swaps} failed",
        *(f"  {name:10} median {spread.median_s:.3f} s, max {spread.max_s:.3f} s" for name, spread in seconds.items()),
        f"inside    {_quantiles(report.inside)}",
        f"outside   {_quantiles(report.outside)}",
        f"ratio     p50 {_ratio(report.ratio_p50)}, p99 {_ratio(report.ratio_p99)}",
        f"our lag   {_quantiles(report.lag)}",
        *(f"swap      {s.kind} {s.from_version} to {s.version}: {s.fault}" for s in report.swaps if s.fault),
        *(f"failed    {count} x status {status}" for status, count in report.failed.items()),
        *(f"fault     {fault}" for fault in report.faults),
    ]
    verdict = "interrupted" if report.is_interrupted else "good" if report.is_good else "not good"
    return "\n".join((*lines, verdict)) + "\n"


def _quantiles(seen: Quantiles) -> str:
    return f"{seen.count} requests, p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms, max {seen.max_ms:.1f} ms"


def _ratio(ratio: Ratio) -> str:
    if ratio.value is None:
        return "unknown"
    if ratio.low is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _parser(defaults: Defaults) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.swaps",
        description="Promote two versions in turn under a steady load. Nobody else may ask the model meanwhile.",
    )
    parser.add_argument("--url", default=defaults.url, help="the gateway (default: %(default)s)")
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--versions", type=_positive, nargs=2, help="default: the two newest published")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--promotes", type=_positive, default=50, help="default: %(default)s")
    parser.add_argument("--keep", type=int, default=0, help="other versions left loaded (default: %(default)s)")
    parser.add_argument("--rollback-after-each", action="store_true", help="roll back after each promote")
    parser.add_argument("--engine", help="force this engine on every request")
    parser.add_argument("--repository", type=Path, default=defaults.repository, help="default: %(default)s")
    parser.add_argument("--token-file", type=Path, help=f"default: TWINSERVE_ADMIN_TOKEN, else {defaults.token_file}")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals (default: %(default)s)")
    parser.add_argument("--lead-s", type=float, default=4.0, help="load before the first swap (default: %(default)s)")
    parser.add_argument("--gap-s", type=float, default=1.0, help="rest between two swaps (default: %(default)s)")
    parser.add_argument("--timeout-s", type=float, default=60.0, help="of one request (default: %(default)s)")
    parser.add_argument("--most-outstanding", type=_positive, default=2000, help="answers owed (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
