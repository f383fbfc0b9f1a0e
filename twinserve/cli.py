"""The command line `twinserve`. Every command has --help and --json; the exit code is 0 only on success."""

import enum
import importlib.metadata
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.addresses import Ports
from twinserve.client import CallError
from twinserve.compare_command import compare
from twinserve.docker_daemon import DockerFailed
from twinserve.known_variables import misspelt
from twinserve.loadtest_command import loadtest
from twinserve.options import INTERRUPTED, Commands, Engine, Json, JsonLines, Url, fail, gateway
from twinserve.places import Places, environment
from twinserve.publish_command import publish
from twinserve.rollout_commands import promote, rollback, route
from twinserve.state_view import print_processes, print_state
from twinserve.up import CannotStart, EnginesIn, run_up
from twinserve.up_state import read_state
from twinserve.watchdog import run_watchdog

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    help="One gateway in front of TorchServe and TensorFlow Serving, both running the same model.\n\n"
    "Start the platform with `up`, look at it with `status`, classify pictures with `predict`, make new weights with "
    "`train` and a new version of them with `publish`. Make a version live with `promote`, go back with `rollback`, "
    "share traffic among the engines with `route`. Put it under load with `loadtest`, and learn which engine is faster "
    "here with `compare`. Ports, folders and the token are set by TWINSERVE_… environment variables.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"twinserve {importlib.metadata.version('twinserve')}")
        raise typer.Exit


@app.callback()
def twinserve(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    # Without a docstring: the help of all commands is the app's own.
    del version


class Framework(enum.StrEnum):
    """What `train` trains in."""

    TORCH = "torch"
    KERAS = "keras"


TRAINERS = {Framework.TORCH: "workers.torch.train", Framework.KERAS: "workers.tf.train"}
TRAINING_ENVIRONMENT = {
    # Every step frees tensors of megabytes; glibc would hand them to the kernel and fault them in again in the next.
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


class Invert(enum.StrEnum):
    """Whether a picture's polarity is changed."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


@app.command()
def up(
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds until everything must be ready.")] = 180,
    engines_in: Annotated[
        EnginesIn, typer.Option(envvar="TWINSERVE_ENGINES_IN", help="Run the engines as processes or as containers.")
    ] = EnginesIn.PROCESSES,
    as_json: JsonLines = False,
) -> None:
    """Start both engines and the gateway, and keep them running until Ctrl-C.

    The shipped versions are published first where they are not yet. With --json each step is a JSON line. With
    --engines-in docker the engines are containers of this machine, from the images of docker-compose.yml.
    """

    def say(line: str) -> None:
        typer.echo(json.dumps({"event": line}) if as_json else line)
        sys.stdout.flush()

    try:
        for warning in misspelt(environment()):
            say(warning)
        places = Places.from_environment(environment())
        code = run_up(places, Ports.from_environment(environment()), engines_in, timeout_s, say)
    except (CannotStart, ValueError, OSError) as error:
        fail(str(error), as_json)
    raise typer.Exit(code)


@app.command()
def status(url: Url = None, as_json: Json = False) -> None:
    """Show which engines are up, and which versions they hold. Succeeds when the live version can be answered.

    Where `up` runs, its processes are shown too: pid, uptime, restarts and why the last run ended.
    """
    running = None if url else read_state(Places.from_environment(environment()).state)
    processes = msgspec.to_builtins(running.children) if running else []
    if processes and not as_json:
        print_processes(processes)
    try:
        state = gateway(url).state()
    except (CallError, ValueError) as error:
        fail(str(error), as_json, beside={"processes": processes, "ready": False})
    if as_json:
        typer.echo(json.dumps({"processes": processes, **state}, indent=2))
    else:
        print_state(state)
    raise typer.Exit(0 if state["ready"] else 1)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="PNG, JPEG, BMP or WebP files.")],
    engine: Annotated[Engine | None, typer.Option(help="Let this engine answer; default: routing decides.")] = None,
    model: Annotated[str, typer.Option(help="The model to ask.")] = "mnist",
    invert: Annotated[
        Invert, typer.Option(help="Invert dark-on-light pictures; auto looks at the border.")
    ] = Invert.AUTO,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Classify picture files through the gateway."""
    try:
        answer = gateway(url).classify(model, images, engine, invert)
    except (CallError, ValueError, OSError) as error:
        fail(str(error), as_json)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    table = Table("file", "label", "score", box=None)
    for path, prediction in zip(images, answer["predictions"], strict=True):
        table.add_row(str(path), prediction["label"], f"{prediction['score']:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{answer['model']} version {answer['version']}, answered by {answer['engine']}", highlight=False)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Where the weights go; their record goes beside it as .json.")],
    framework: Annotated[Framework, typer.Option(help="What to train in.")] = Framework.TORCH,
    data: Annotated[Path | None, typer.Option(help="Folder of MNIST's four IDX files; default: download them.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the 60,000 training images.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 1,
    lr: Annotated[float, typer.Option(min=0, help="Adam's learning rate at the start.")] = 0.001,
    logdir: Annotated[Path | None, typer.Option(help="Write TensorBoard event files below this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Train the MNIST network and write canonical weights that both engines can serve.

    Runs of both frameworks compare in one TensorBoard: `tensorboard --logdir` with the folder given as --logdir.
    """
    command = [sys.executable, "-m", TRAINERS[framework], "--out", str(out), "--epochs", str(epochs)]
    command += ["--seed", str(seed), "--lr", str(lr)]
    command += ["--data", str(data)] if data else []
    command += ["--logdir", str(logdir)] if logdir else []
    command += ["--json"] if as_json else []
    child_environment = {**TRAINING_ENVIRONMENT, **environment()}
    try:
        code = subprocess.run(command, env=child_environment, check=False).returncode
    except KeyboardInterrupt:
        fail("interrupted; no weights were written", as_json, INTERRUPTED)
    if code and as_json:
        fail(f"training failed with exit code {code}; why is on stderr", as_json)
    raise typer.Exit(code)


@app.command()
def watchdog(
    project: Annotated[
        str | None, typer.Option(help="The compose project to watch; default: that of the container this runs in.")
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """Bring back engines of a composed platform that `docker kill` ended, until Ctrl-C.

    docker-compose.watchdog.yml runs this. Those that were stopped are left alone. With --json each line is JSON.
    """

    def say(line: str) -> None:
        typer.echo(json.dumps({"event": line}) if as_json else line)
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))  # also out of a wait for the daemon
    try:
        run_watchdog(project, say)
    except DockerFailed as error:
        fail(str(error), as_json)


for command in (publish, promote, rollback, route, loadtest, compare):
    app.command()(command)


def main() -> None:
    """The entry point of the `twinserve` command."""
    app()


if __name__ == "__main__":
    main()
