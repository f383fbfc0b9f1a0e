"""`twinserve up`: publish the shipped versions, start both engines and the gateway, keep them until asked to stop."""

import enum
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

from contracts.addresses import LOOPBACK, Ports, variable
from twinserve.child_life import Limits, State
from twinserve.client import GatewayClient
from twinserve.docker_daemon import Daemon
from twinserve.engine_containers import container_plans, find_images, remove_leftovers
from twinserve.engine_gpu import Gpus
from twinserve.engine_usage import UsageMeter
from twinserve.gateway_word import ask_gateway
from twinserve.lifeline import Lifeline
from twinserve.memory_guard import GuardLimits, limits_from
from twinserve.memory_watch import MemoryWatch
from twinserve.places import Places, read_token, short
from twinserve.plans import ENGINES, GATEWAY, EnginePlans, gateway_plan, process_plans
from twinserve.probes import is_free
from twinserve.publishing import PublishError
from twinserve.shipped import publish_shipped
from twinserve.supervisor import StartError, Supervised, Supervisor
from twinserve.up_state import ProcessState, UpState, write_state

WATCH_INTERVAL_S = 0.2
INTERRUPTED = 130

Say = Callable[[str], None]


class CannotStart(Exception):
    """The platform cannot run here and now; the message says what to do."""


class EnginesIn(enum.StrEnum):
    """What the engines run in; the gateway is a process either way."""

    PROCESSES = "processes"
    DOCKER = "docker"


def run_up(places: Places, ports: Ports, engines_in: EnginesIn, timeout_s: float, say: Say) -> int:
    """Run the platform until SIGINT, SIGTERM or SIGHUP; returns the exit code.

    Raises CannotStart, ValueError (a bad limit), OSError.
    """
    memory_limits = limits_from(os.environ, ENGINES)
    stop_asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop_asked.set())
    with _only_one(places):
        make_plans = _prepare_engines(engines_in, places, ports, say)
        _check_ports(ports)
        places.ensure_token()
        try:
            publish_shipped(places.repository, say)
        except PublishError as error:
            # Otherwise Ctrl-C reached the exporters too, and a half-made version is gone already.
            if not stop_asked.is_set():
                raise CannotStart(str(error)) from error
        if stop_asked.is_set():
            say("stopped before the start")
            return INTERRUPTED
        try:
            with Lifeline() as lifeline, Supervisor(stop_asked, lifeline, say, Limits()) as supervisor:
                with _measuring(supervisor, engines_in, places, ports, memory_limits, say) as watch:
                    code = _serve(supervisor, watch, make_plans(), places, ports, timeout_s, say)
                say("stopping")
        finally:
            places.state.unlink(missing_ok=True)
    if supervisor.left_over:
        say(f"stopped, but {', '.join(supervisor.left_over)} could not be removed")
        return code or 1
    say("stopped")
    return code


def _prepare_engines(engines_in: EnginesIn, places: Places, ports: Ports, say: Say) -> Callable[[], EnginePlans]:
    """See early that engines can be had, and clear away old ones; returns what makes the plans, once all is published.

    Raises OSError.
    """
    if engines_in is EnginesIn.PROCESSES:
        return lambda: process_plans(places, ports)
    daemon = Daemon.connect()
    images = find_images(daemon, os.environ)
    for name in remove_leftovers(places, daemon):
        say(f"{name} was left over from an earlier run: removed")
    return lambda: container_plans(places, ports, daemon, images, os.environ)


@contextmanager
def _measuring(
    supervisor: Supervisor, engines_in: EnginesIn, places: Places, ports: Ports, limits: GuardLimits, say: Say
) -> Iterator[MemoryWatch]:
    """Measure what the engines use, and tell the gateway, while the block runs."""
    gateway = GatewayClient(_url(ports), read_token(os.environ))
    # Containers are bounded by Docker, and their processes belong to no group of ours to be measured.
    engines = ENGINES if engines_in is EnginesIn.PROCESSES else ()
    with (
        UsageMeter(places.usage, Gpus()) as usage,
        MemoryWatch(
            supervisor, engines, places.memory, lambda: ask_gateway(gateway), limits, say, usage.measure
        ) as watch,
    ):
        yield watch


def _serve(
    supervisor: Supervisor,
    watch: MemoryWatch,
    engines: EnginePlans,
    places: Places,
    ports: Ports,
    timeout_s: float,
    say: Say,
) -> int:
    implementation = engines.implementation
    for plan in (engines.torchserve, engines.tfserving, gateway_plan(places, ports, engines)):
        child = supervisor.start(plan)
        where = f"container {child.run.container}" if child.run.container else f"pid {child.run.pid}"
        say(f"{child.name}: starting ({where}, log {short(plan.log.path)})")
    write_state(places.state, _state(supervisor, ports, implementation))
    try:
        is_ready = supervisor.wait_ready(timeout_s, lambda child, s: say(f"{child.name}: {_ready(child)} in {s:.1f} s"))
    except StartError as error:
        raise CannotStart(str(error)) from error
    if not is_ready:
        return 0
    write_state(places.state, _state(supervisor, ports, implementation))
    for line in _welcome(ports, implementation):
        say(line)
    while not supervisor.wait_stop(WATCH_INTERVAL_S):
        has_changed = supervisor.tend()
        if watch.tend() or has_changed:
            write_state(places.state, _state(supervisor, ports, implementation))
        if any(child.name == GATEWAY and child.life.state is State.GAVE_UP for child in supervisor.children):
            return 1
    return 0


def _check_ports(ports: Ports) -> None:
    taken = [field.name for field in fields(ports) if not is_free(getattr(ports, field.name))]
    if taken:
        named = ", ".join(f"{getattr(ports, name)} ({variable(name)})" for name in taken)
        raise CannotStart(f"something listens on port {named} already: stop it, or set the variable to another port")


@contextmanager
def _only_one(places: Places) -> Iterator[None]:
    """One platform a run directory; the kernel frees the lock however its holder ends."""
    places.home.mkdir(parents=True, exist_ok=True)
    with (places.home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"twinserve runs already from {short(places.home)} (see `twinserve status`); stop it with Ctrl-C "
                "there, or set TWINSERVE_HOME to another folder"
            ) from None
        yield


def _state(supervisor: Supervisor, ports: Ports, implementation: str) -> UpState:
    children = [
        ProcessState(
            name=child.name,
            state=child.life.state.value,
            pid=child.run.pid,
            started_at=child.run_started_at,
            restarts=child.life.restarts,
            last_cause=child.life.last_cause,
            log=str(child.plan.log.path),
            container=child.run.container,
        )
        for child in supervisor.children
    ]
    return UpState(os.getpid(), _url(ports), implementation, children)


def _url(ports: Ports) -> str:
    return f"http://{LOOPBACK}:{ports.http}"


def _ready(child: Supervised) -> str:
    return "ready, both engines serve the live version," if child.name == GATEWAY else "up"


def _welcome(ports: Ports, implementation: str) -> list[str]:
    url = _url(ports)
    rest = f"REST {LOOPBACK}:{ports.tfserving_rest}"
    return [
        "",
        f"  gateway      {url}   Open Inference Protocol under /v2, documentation at /docs, metrics at /metrics",
        f"               grpc {LOOPBACK}:{ports.grpc}   the same protocol, and TensorFlow Serving's",
        f"  torchserve   http://{LOOPBACK}:{ports.torchserve_inference}   TorchServe",
        f"  tfserving    grpc {LOOPBACK}:{ports.tfserving_grpc}, {rest}   {implementation}",
        "",
        "  Try, in another terminal:",
        f"    curl -F image=@docs/digits/7.png {url}/models/mnist/classify",
        "    .venv/bin/twinserve predict docs/digits/7.png --engine tfserving",
        "",
        "  Ctrl-C stops everything.",
    ]
