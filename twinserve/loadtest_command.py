"""`twinserve loadtest`: a scenario of loadtest/locustfile.py without Locust's web UI, with limits and an exit code.

Its parameters are its flags, each with its help, which is what makes it long. The load is made by a process of its own:
Locust changes how sockets and threads work there.
"""

import enum
import importlib.util
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from contracts.golden import Golden, write_golden
from contracts.layout import ModelPaths
from twinserve.client import CallError
from twinserve.digits import golden_digits
from twinserve.locust_command import LOG, Generators, locust_command
from twinserve.options import INTERRUPTED, Engine, Json, Url, fail, gateway
from twinserve.places import Places, default_url, environment, read_token, short

CANNOT_RUN = 2
SUMMARY, TEXT, FAILURE = "summary.json", "summary.txt", "cannot-run.txt"
DRAWN_DIGITS = 200
_SHOWN_LOG = 15


class Scenario(enum.StrEnum):
    """What `loadtest` runs: the names of loadtest/scenarios/shapes.py."""

    STEADY = "steady"
    RAMP = "ramp"
    SPIKE = "spike"
    SOAK = "soak"
    HOT_SWAP = "hot-swap"
    ENGINE_KILL = "engine-kill"
    MIXED = "mixed"


class Protocol(enum.StrEnum):
    """How requests are put."""

    JSON = "json"
    BINARY = "binary"
    IMAGE = "image"
    GRPC = "grpc"


QUICK_RATE = 50.0
DEFAULT_RATE = 100.0


@dataclass(frozen=True)
class Run:
    """One run: what Locust is told, the environment it gets, and where its files go."""

    command: Sequence[str]
    environment: Mapping[str, str]
    out: Path

    @property
    def log(self) -> Path:
        return self.out / LOG


def loadtest(
    scenario: Annotated[
        Scenario,
        typer.Argument(
            help="steady: the same load all the time. ramp: from a tenth to all of it. spike: all of it for a fifth of "
            "the time. soak: the same for long. hot-swap: versions are promoted in turn, and the live one is put "
            "back. engine-kill: kill -9 of an engine, which must come back. mixed: all protocols at once.",
            show_default=False,
        ),
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Requests a second at full load, in an open loop: each is sent when it is due (Poisson arrivals), "
            "and its latency counts from then. Default: 100, with --quick 50.",
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --rate, a closed loop: so many users each wait for their answers."),
    ] = None,
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; default: the scenario's.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds, to see that everything works.")] = False,
    protocol: Annotated[
        list[Protocol] | None,
        typer.Option(help="How requests are put; several mix. Default: binary, and for mixed all of them."),
    ] = None,
    model: Annotated[str, typer.Option(help="The model to ask.")] = "mnist",
    engine: Annotated[Engine | None, typer.Option(help="Force this engine; default: routing decides.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Labelled rows: a folder of MNIST's IDX files, or an npz of inputs by name and `labels`. "
            "Default: TWINSERVE_MNIST, where it fits the model.",
        ),
    ] = None,
    max_p99_ms: Annotated[
        float | None, typer.Option(min=0, help="Fail when one answer in 100 takes longer than these milliseconds.")
    ] = None,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Fail when a larger share of requests gets no answer, or a wrong one.")
    ] = 0.0,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail when a smaller share of the labels is right.")
    ] = None,
    kill: Annotated[Engine, typer.Option(help="The engine that engine-kill kills.")] = Engine.TFSERVING,
    yes: Annotated[bool, typer.Option("--yes", help="Really kill it: without this, engine-kill refuses.")] = False,
    think_ms: Annotated[float, typer.Option(min=0, help="A user's pause after each answer, with --users.")] = 0.0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the load, for high rates.")] = 1,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Instead of processes here, so many Locust workers from elsewhere, which are waited for at port 5557.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same arrivals and rows.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the results; default: one of its own in .twinserve/loadtest."),
    ] = None,
    url: Url = None,
    grpc: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The gateway's gRPC; default: the URL's host, TWINSERVE_GRPC_PORT."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a gateway under load, and hold every answer against what is known.

    Each answer must be of the version and the engine it names; rows whose outputs are known (the golden rows of
    model_repo) must be answered with those, labelled rows count into the accuracy. The folder of results has
    summary.json, summary.txt, latency.hgrm, report.html (Locust's) and requests_*.csv.

    Exit code 0: all limits met. 1: one was missed, it says which. 2: it could not run. 130: Ctrl-C; the results of
    what ran are written. docs/loadtest.md tells what the figures mean.
    """
    if rate is not None and users is not None:
        fail("give --rate (open loop) or --users (closed loop), not both", as_json, CANNOT_RUN)
    if workers and processes > 1:
        fail("give --processes (here) or --workers (from elsewhere), not both", as_json, CANNOT_RUN)
    if importlib.util.find_spec("locust") is None:
        fail("this needs Locust: pip install -c constraints.txt -e '.[load]'", as_json, CANNOT_RUN)
    places = Places.from_environment(environment())
    if scenario is Scenario.ENGINE_KILL and not yes:
        asked = (
            f"engine-kill ends {kill} of the platform in {short(places.home)} with kill -9: say --yes if you mean it"
        )
        fail(asked, as_json, CANNOT_RUN)
    try:
        target = _find_target(url, model)
    except (CallError, ValueError) as error:
        fail(str(error), as_json, CANNOT_RUN)
    rate = rate or (None if users else QUICK_RATE if quick else DEFAULT_RATE)
    folder = (out or places.home / "loadtest" / f"{time.strftime('%Y%m%d-%H%M%S')}-{scenario}").resolve()
    options: dict[str, Any] = {
        "--host": target,
        "--scenario": scenario,
        "--duration": duration,
        "--rate": rate,
        "--users": users,
        "--model": model,
        "--engine": engine,
        "--protocol": ",".join(protocol) if protocol else None,
        "--max-p99-ms": max_p99_ms,
        "--max-error-rate": max_error_rate,
        "--min-accuracy": min_accuracy,
        "--kill": kill,
        "--think-ms": think_ms,
        "--seed": seed,
        "--grpc": grpc,
        "--home": places.home,
        "--repository": places.repository,
    }
    flags = ["--yes"] * yes + ["--quick"] * quick
    with ExitStack() as stack:
        if data is not None:
            options["--data"] = data.resolve()
        elif not environment().get("TWINSERVE_MNIST") and not ModelPaths(places.repository, model).published():
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            options["--data"] = _draw_digits(scratch / "digits.npz")
        command = locust_command(options, flags, Generators(processes, workers), folder)
        _run(Run(command, _child_environment(), folder), as_json)


def _find_target(url: str | None, model: str) -> str:
    """The gateway's URL, once it has told of the model. Raises CallError, ValueError."""
    given = url or default_url(environment())
    gateway(url).metadata(model)
    return (given if "://" in given else f"http://{given}").rstrip("/")


def _draw_digits(file: Path) -> Path:
    """Digits by our own pen, where there is neither a data set nor a repository."""
    images, labels = golden_digits(DRAWN_DIGITS)
    write_golden(file, Golden({"images": images}, labels=labels.astype(np.int64)))
    return file


def _child_environment() -> dict[str, str]:
    """The token goes by the environment: a command line can be read by everybody on this machine."""
    token = read_token(environment())
    # Locust would take its own options from there too, and a load test is what its command line says.
    passed = {name: value for name, value in environment().items() if not name.startswith("LOCUST_")}
    return passed | ({"TWINSERVE_ADMIN_TOKEN": token} if token else {})


def _run(run: Run, as_json: bool) -> None:
    """Run Locust, show what it wrote, and end with its exit code."""
    try:
        run.out.mkdir(parents=True, exist_ok=True)
        for name in (SUMMARY, TEXT, FAILURE):
            (run.out / name).unlink(missing_ok=True)  # what an earlier run left is not this one's
        code, is_interrupted = _wait(run)
        if is_interrupted and not (run.out / SUMMARY).is_file():
            fail("interrupted before there were results", as_json, INTERRUPTED)
        if code == CANNOT_RUN:
            reason = (run.out / FAILURE).read_text().strip() if as_json else "the load test cannot run, see above"
            fail(reason, as_json, CANNOT_RUN)
        document = json.loads((run.out / SUMMARY).read_text())
        text = (run.out / TEXT).read_text()
    except (OSError, ValueError) as error:
        fail(f"no results ({error}); the end of {short(run.log)}:\n{_tail(run.log)}", as_json, CANNOT_RUN)
    if as_json:
        typer.echo(json.dumps({**document, "artefacts": str(run.out)}, indent=2))
    else:
        typer.echo(f"{text}results   {short(run.out)}")
    raise typer.Exit(code)


def _wait(run: Run) -> tuple[int, bool]:
    """Locust's exit code, and whether it was told to end early. It is in a session of its own, so that it hears of
    Ctrl-C once, and from us; then it writes its files, and we wait for them."""
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(run.command, env=run.environment, stdin=nothing, stdout=nothing, start_new_session=True)
    is_interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        child.send_signal(signal.SIGINT)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return child.wait(), is_interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tail(file: Path) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-_SHOWN_LOG:])
    except OSError:
        return ""
