"""The program behind `twinserve compare`: looks, measures, sums up, writes.

Exit code 0 whatever the verdict is, 2 when nothing could be compared or written, 130 after Ctrl-C with what there is.
"""

import argparse
import asyncio
import dataclasses
import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvloop

from contracts.atomic import write_atomic
from loadtest.admin import find_token
from loadtest.bench.machine import Machine
from loadtest.compare.client import Unreachable
from loadtest.compare.command_line import ENGINES, read_arguments
from loadtest.compare.deployment import CannotRun, Deployment, Place, look_at
from loadtest.compare.factor_section import add_factors
from loadtest.compare.mirroring import check_not_mirrored, count_copies
from loadtest.compare.page import encode_page
from loadtest.compare.plan import FULL, QUICK, Side, Sizes, planned_seconds
from loadtest.compare.progress import Progress
from loadtest.compare.resources import Gpus
from loadtest.compare.results import FORMAT, Result, Settings, encode_result
from loadtest.compare.runner import Measured, Names, Runner, Wish
from loadtest.compare.statistics import LEAST_PAIRS
from loadtest.compare.subjects import HttpMeter, direct_subject, gateway_subject
from loadtest.compare.summary import Terms, compare_pairs, describe_side, find_rejected
from loadtest.compare.swapping import FULL_SWAPS, QUICK_SWAPS, CannotSwap, Swapping, prepare_swaps, run_swaps
from loadtest.compare.text import describe
from loadtest.compare.verdict import find_verdict
from loadtest.output import check_writable

DONE, CANNOT_RUN, INTERRUPTED = 0, 2, 130


def run_program(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    as_json = "--json" in arguments
    try:
        given = read_arguments(arguments)
        check_writable(given.out or given.home / "compare")
        result = _compare(given)
    except (CannotRun, Unreachable, OSError, ValueError) as error:
        return _fail(str(error), as_json)
    except KeyboardInterrupt:
        return _fail("interrupted before anything was measured", as_json, INTERRUPTED)
    try:
        return _tell(result, given)
    except OSError as error:
        sys.stderr.write(f"twinserve compare: the report cannot be written: {error}\n")
        return CANNOT_RUN


def _tell(result: Result, given: argparse.Namespace) -> int:
    """Print and write it; the factors, which take minutes, come after a first writing. Raises OSError."""
    folder = given.out or _new_folder(given.home, result)
    if given.factors:
        with suppress(OSError):  # it is tried again
            _write(result, folder)
        result = add_factors(result, given)
    try:
        sys.stdout.write(encode_result(result).decode() if given.json else describe(result))
        sys.stdout.flush()
    finally:  # neither a folder nor a reader that has gone costs the other its result
        _write(result, folder)
    sys.stderr.write(f"the report: {folder / 'compare.html'}, and {folder / 'compare.json'} for programs\n")
    return INTERRUPTED if result.is_interrupted else DONE


def _fail(message: str, as_json: bool, code: int = CANNOT_RUN) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"error": message}) + "\n")
    else:
        sys.stderr.write(f"twinserve compare: {message}\n")
    return code


def sizes_of(given: argparse.Namespace) -> Sizes:
    """The usual sizes, with what was asked for; half as many pairs for the noise as for the engines."""
    sizes = QUICK if given.quick else FULL
    if given.pairs:
        half = given.pairs // 4 * 2  # even, as all numbers of pairs
        least = LEAST_PAIRS + 2  # some may be rejected, and with too few there is no verdict
        sizes = dataclasses.replace(sizes, pairs=given.pairs, noise_pairs=max(least, half))
    if given.pairs_only:
        sizes = dataclasses.replace(sizes, slo_s=0.0)
    return dataclasses.replace(sizes, slot_s=given.slot_s) if given.slot_s else sizes


def _compare(given: argparse.Namespace) -> Result:
    """Raises CannotRun, Unreachable, OSError."""
    if given.direct and set(given.direct) != set(ENGINES):
        raise CannotRun("--direct is given for both engines or for none, since they are compared with each other")
    started, began_at = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = Machine.read()  # before there is any load of ours
    place = Place(given.url, given.model, ENGINES, given.repository, given.home, given.seed)
    deployment = look_at(place)
    token = find_token(os.environ, given.home)
    check_not_mirrored(deployment.url, deployment.model, token)
    swapping = _prepare_swaps(given, deployment, token)
    copies = count_copies(deployment.url, deployment.model)
    gpus, sizes = Gpus(), sizes_of(given)
    if isinstance(swapping, Swapping):
        sizes = dataclasses.replace(sizes, budget_s=sizes.budget_s - swapping.planned_s)
    measured = uvloop.run(_measure(given, deployment, gpus, sizes, swapping))
    if not measured.noise:
        raise KeyboardInterrupt  # before there was anything to tell
    with suppress(CannotRun):  # a gateway that has gone must not cost what was measured
        measured.mirrored = max(0, count_copies(deployment.url, deployment.model) - copies)
    return make_result(
        given, deployment, sizes, measured, (machine, gpus.names(), began_at, time.monotonic() - started)
    )


def _prepare_swaps(given: argparse.Namespace, deployment: Deployment, token: str | None) -> Swapping | str:
    """Or why there will be none; empty when nobody wants any. Raises CannotRun when they were asked for."""
    if given.no_swaps or (given.pairs_only and given.swaps is None):
        return ""
    count = given.swaps or (QUICK_SWAPS if given.quick else FULL_SWAPS)
    try:
        return prepare_swaps(deployment, token, given.repository, count, given.seed)
    except CannotSwap as error:
        if given.swaps is not None:
            raise CannotRun(f"--swaps: {error}") from error
        return str(error)


async def _measure(
    given: argparse.Namespace, deployment: Deployment, gpus: Gpus, sizes: Sizes, swapping: Swapping | str
) -> Measured:
    subjects = {engine: gateway_subject(deployment, engine) for engine in ENGINES}
    names, here = dict(zip(Side, ENGINES, strict=True)), deployment.processes
    whose = {engine: {n: pid for n, pid in here.items() if n in ("gateway", engine)} for engine in ENGINES}
    direct = None
    if given.direct:
        direct = {side: f"{engine} direct" for side, engine in names.items()}
        for engine, url in given.direct.items():
            subjects[f"{engine} direct"] = direct_subject(deployment, engine, url, given.torchserve_key_file)
            whose[f"{engine} direct"] = {n: pid for n, pid in here.items() if n == engine}
    swaps_s = swapping.planned_s if isinstance(swapping, Swapping) else 0.0
    progress = Progress(planned_seconds(sizes, has_direct=direct is not None) + swaps_s)
    wish = Wish(given.seed, given.slo_ms, given.rate)
    meter = HttpMeter(subjects, whose, gpus)
    interrupted = _interruption(progress)
    runner = Runner(meter, Names(names, direct), sizes, wish, progress.say, interrupted)
    try:
        await _swap(swapping, await runner.run(), progress, interrupted)
        return runner.measured
    except Unreachable as error:
        if not runner.measured.gateway:
            raise
        progress.note(f"{error}; this is what was measured until then")
        runner.measured.is_interrupted = True
        return runner.measured
    finally:
        progress.end()


async def _swap(swapping: Swapping | str, measured: Measured, progress: Progress, interrupted: asyncio.Event) -> None:
    """Last, and only after a whole run."""
    if isinstance(swapping, str):
        measured.swaps_left_out = swapping
        return
    if measured.is_interrupted:
        measured.swaps_left_out = "the run was interrupted before"
        return
    progress.say(f"{swapping.swaps} swaps under load", swapping.planned_s)
    try:
        measured.swaps = await run_swaps(swapping, measured.rate_per_s, progress.note, interrupted)
    except CannotSwap as error:
        measured.swaps_left_out = str(error)
    measured.is_interrupted = interrupted.is_set()


def _interruption(progress: Progress) -> asyncio.Event:
    """Set by the first Ctrl-C; the second ends the program as usual."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        interrupted.set()
        loop.remove_signal_handler(signal.SIGINT)
        progress.note("stopping; what was measured is kept. Ctrl-C again ends at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return interrupted


def make_result(
    given: argparse.Namespace,
    deployment: Deployment,
    sizes: Sizes,
    measured: Measured,
    ran: tuple[Machine, tuple[str, ...], str, float],
) -> Result:
    """`ran`: the machine, its GPUs, when the run began and the seconds it took."""
    machine, gpus, began_at, took_s = ran
    terms = Terms(given.seed, given.price_per_hour, sizes.fails_needed)
    gateway = compare_pairs("gateway", sizes.pairs, measured.gateway, given.seed)
    noise = compare_pairs("noise", sizes.noise_pairs, measured.noise, given.seed)
    direct = compare_pairs("direct", sizes.direct_pairs, measured.direct, given.seed) if given.direct else None
    a, b = deployment.labels
    return Result(
        format=FORMAT,
        started_at=began_at,
        took_s=took_s,
        is_interrupted=measured.is_interrupted,
        verdict=find_verdict(gateway, noise, a, b, given.metric, measured.rate_per_s, mirrored=measured.mirrored),
        settings=_settings(given, deployment, sizes, measured),
        noise=noise,
        gateway=gateway,
        direct=direct,
        a=describe_side(Side.A, a, measured, terms),
        b=describe_side(Side.B, b, measured, terms),
        rejected=find_rejected(measured),
        machine=machine,
        gpus=gpus,
        hashes=deployment.hashes,
        swaps=measured.swaps,
        swaps_left_out=measured.swaps_left_out,
        mirrored=measured.mirrored,
    )


def _settings(given: argparse.Namespace, deployment: Deployment, sizes: Sizes, measured: Measured) -> Settings:
    engines = dict(zip(Side, deployment.labels, strict=True))
    return Settings(
        url=deployment.url,
        model=deployment.model,
        version=deployment.version,
        seed=given.seed,
        is_quick=given.quick,
        metric=given.metric,
        slo_ms=given.slo_ms,
        price_per_hour=given.price_per_hour,
        slot_s=sizes.slot_s,
        warm_up_s=measured.warm_up_s,
        rate_per_s=measured.rate_per_s,
        capacity_per_s={engines[side].engine: rate for side, rate in measured.capacity_per_s.items()},
        requests_from=deployment.questions.origin,
    )


def _new_folder(home: Path, result: Result) -> Path:
    return home / "compare" / result.started_at.replace(":", "").partition("+")[0]


def _write(result: Result, folder: Path) -> None:
    """Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "compare.json", encode_result(result))
    write_atomic(folder / "compare.html", encode_page(result).encode())
