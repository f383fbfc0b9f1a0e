"""`make compose-test`: a Docker engine, the images, and the end-to-end suite against the composed platform.

TWINSERVE_ENGINE_UP may name a script that brings an engine up, with a compose command and the base image. Where there
is neither an engine nor a script it says so, in a line that begins with SKIPPED, and ends well; whatever else keeps it
from running is a failure. In any case nothing of the test is left but its images, which are the cache of the next run.
Arguments go to pytest.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from tests.composed.composed_platform import SERVICES, TAG, Compose, compose_command

BASE_IMAGE = os.environ.get("TWINSERVE_BASE_IMAGE", "python:3.11-slim-bookworm")
ENGINE_UP_TIMEOUT_S = 1200
PULL_TIMEOUT_S = 300
BUILD_TIMEOUT_S = 2700
TEST_TIMEOUT_S = 2400
END_TIMEOUT_S = 180
INTERRUPTED = 130

LOADERS = {"load": "locust-worker"}
"""Images whose service has another name than they have."""

STAND_INS = {name: Path(__file__).parent / "images" / f"{name}.Dockerfile" for name in ("prometheus", "balancer")}
"""Images of Debian's packages in the place of official ones, which tests do not fetch."""


class NoEngine(Exception):
    """There is no Docker engine, and nothing to bring one up; the message says what is missing."""


class Failed(Exception):
    """Something did not work; the message says what."""


def main(arguments: Sequence[str]) -> int:
    """Run everything; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        compose = Compose(require_engine())
    except NoEngine as error:
        say(f"SKIPPED: {error}")
        return 0
    except Failed as error:
        say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    code = 1
    try:
        build(compose)
        say("starting the platform and running the end-to-end suite")
        code = run_suite(arguments)
    except Failed as error:
        say(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        left = compose.down()
    if left:
        say(f"left over: {', '.join(left)}")
        return code or 1
    say(f"nothing is left but the images twinserve-*:{TAG}; {'passed' if code == 0 else 'failed'}")
    return code


def require_engine() -> list[str]:
    """The compose command of a Docker engine that has the base image. Raises NoEngine, Failed."""
    problem = find_engine_problem()
    script = os.environ.get("TWINSERVE_ENGINE_UP")
    if problem and not script:
        raise NoEngine(f"{problem} (TWINSERVE_ENGINE_UP may name a script that brings up an engine)")
    problem = problem or find_equipment_problem()
    if problem and script:
        say(f"{problem}; running {script}")
        try:
            subprocess.run([script], check=True, timeout=ENGINE_UP_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(f"{problem}, and {script} did not help: {error}") from error
        problem = find_engine_problem() or find_equipment_problem()
    command = compose_command()
    if problem or command is None:
        raise Failed(f"{problem}, although {script} has run" if script else problem)
    version = ask("docker", "version", "--format", "{{.Server.Version}}").stdout.strip()
    say(f"Docker {version}, {' '.join(command)}")
    return command


def find_engine_problem() -> str:
    """What keeps this machine from running containers; empty when nothing does."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    answer = ask("docker", "version", "--format", "{{.Server.Version}}")
    return "" if answer.returncode == 0 else f"no Docker engine answers: {_last_line(answer.stderr)}"


def find_equipment_problem() -> str:
    """What a Docker engine that answers lacks to build and run the platform; empty when nothing."""
    if compose_command() is None:
        return "neither `docker compose` nor docker-compose is installed"
    if ask("docker", "image", "inspect", BASE_IMAGE).returncode == 0:
        return ""
    pulled = ask("docker", "pull", BASE_IMAGE)
    return "" if pulled.returncode == 0 else f"the base image {BASE_IMAGE} is not here: {_last_line(pulled.stderr)}"


def build(compose: Compose) -> None:
    """Build all images, one after the other, and forget those that they replace. Raises Failed."""
    deadline = time.monotonic() + BUILD_TIMEOUT_S
    services = {**{name: name for name in SERVICES}, **LOADERS}
    builders = {name: partial(compose, "build", service) for name, service in services.items()}
    builders |= {name: partial(_build_stand_in, name, dockerfile) for name, dockerfile in STAND_INS.items()}
    before = {image: _image_id(image) for image in map(_image, builders)}
    log = Path(tempfile.gettempdir(), f"{compose.project}-build.log")
    for number, (name, builder) in enumerate(builders.items(), 1):
        started = time.monotonic()
        say(f"building {number}/{len(builders)}: {name} (log {log})")
        try:
            done = builder(timeout_s=max(1.0, deadline - started))
        except subprocess.TimeoutExpired as error:
            raise Failed(
                f"the images were not built in {BUILD_TIMEOUT_S} s; the next run goes on from there"
            ) from error
        log.write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise Failed("\n".join([*log.read_text().splitlines()[-15:], f"{name} could not be built"]))
        say(f"built {name} in {time.monotonic() - started:.0f} s")
    for image, old in before.items():
        if old and old != _image_id(image):
            ask("docker", "image", "rm", old)  # refused when somebody else uses it


def run_suite(arguments: Sequence[str]) -> int:
    """The end-to-end tests in a process of their own, whose fixtures end what they started, Ctrl-C or not."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "engines", "--target", "compose", "--durations", "10"]
    # In a session of its own, so that Ctrl-C comes to it once, from here: at the second it would leave things lying.
    with subprocess.Popen([*command, *(arguments or ["tests/e2e"])], start_new_session=True) as process:
        try:
            return process.wait(TEST_TIMEOUT_S)
        except KeyboardInterrupt:
            say("ending the suite")
            code = INTERRUPTED
        except subprocess.TimeoutExpired:
            say(f"the suite is not done in {TEST_TIMEOUT_S} s, ending it")
            code = 1
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_TIMEOUT_S)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)  # and a platform that a test has started
        return code


def ask(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a short command; one that takes too long has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PULL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {PULL_TIMEOUT_S} s")


def say(line: str) -> None:
    """A line of progress."""
    print(f"compose-test: {line}", flush=True)


def _image(name: str) -> str:
    return f"twinserve-{name}:{TAG}"


def _build_stand_in(name: str, dockerfile: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = ["docker", "build", "-t", _image(name), "--build-arg", f"BASE={BASE_IMAGE}", "-"]
    return subprocess.run(
        command, input=dockerfile.read_text(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def _image_id(image: str) -> str:
    return ask("docker", "image", "inspect", "--format", "{{.Id}}", image).stdout.strip()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
