"""`twinserve up`: publish the shipped versions, start both engines and the gateway, keep them until asked to stop."""

import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

from contracts.addresses import LOOPBACK, Ports, variable
from contracts.layout import TORCHSERVE_STORE
from twinserve.child import ChildPlan
from twinserve.child_life import Limits, State
from twinserve.client import GatewayClient
from twinserve.gateway_word import ask_gateway
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.memory_guard import limits_from
from twinserve.memory_watch import MemoryWatch
from twinserve.places import Places, read_token, short
from twinserve.probes import accepts_tcp, answers_http, answers_http_at_all, is_free
from twinserve.publishing import PublishError
from twinserve.shipped import publish_shipped
from twinserve.supervisor import StartError, Supervised, Supervisor
from twinserve.up_state import ProcessState, UpState, write_state

ENGINES = ("torchserve", "tfserving")
GATEWAY = "gateway"
WATCH_INTERVAL_S = 0.2
INTERRUPTED = 130

Say = Callable[[str], None]


class CannotStart(Exception):
    """The platform cannot run here and now; the message says what to do."""


def run_up(places: Places, ports: Ports, timeout_s: float, say: Say) -> int:
    """Run the platform until SIGINT, SIGTERM or SIGHUP; returns the exit code.

    Raises CannotStart, ValueError (a bad memory limit), OSError.
    """
    memory_limits = limits_from(os.environ, ENGINES)
    stop_asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop_asked.set())
    with _only_one(places):
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
                gateway = GatewayClient(_url(ports), read_token(os.environ))
                with MemoryWatch(
                    supervisor, ENGINES, places.memory, lambda: ask_gateway(gateway), memory_limits, say
                ) as watch:
                    code = _serve(supervisor, watch, places, ports, timeout_s, say)
                say("stopping")
        finally:
            places.state.unlink(missing_ok=True)
    say("stopped")
    return code


def _serve(supervisor: Supervisor, watch: MemoryWatch, places: Places, ports: Ports, timeout_s: float, say: Say) -> int:
    implementation = "tensorflow_model_server" if shutil.which("tensorflow_model_server") else "embedded"
    for plan in make_plans(places, ports, implementation):
        child = supervisor.start(plan)
        say(f"{child.name}: starting (pid {child.run.pid}, log {short(plan.log.path)})")
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


def make_plans(places: Places, ports: Ports, implementation: str) -> tuple[ChildPlan, ...]:
    """The children: engines first, the gateway last."""
    environment = ports.to_environment()
    store = places.repository / TORCHSERVE_STORE
    store.mkdir(exist_ok=True)
    torchserve = ("workers.torch.launcher", "--run-dir", str(places.torchserve), "--model-store", str(store))
    tfserving = ("workers.tf.launcher", "--run-dir", str(places.tfserving), "--implementation", implementation)
    gateway_environment = {
        **environment,
        "TWINSERVE_REPOSITORY": str(places.repository),
        "TWINSERVE_ADMIN_TOKEN_FILE": str(places.token_file),
        "TWINSERVE_TORCHSERVE_KEY_FILE": str(places.torchserve / "key_file.json"),
        "TWINSERVE_TFSERVING_IMPLEMENTATION": implementation,
        "TWINSERVE_ENGINE_MEMORY_FILE": str(places.memory),
    }
    return (
        ChildPlan(
            "torchserve",
            (sys.executable, "-m", *torchserve),
            LogFile(places.logs / "torchserve.log"),
            answers_http_at_all(ports.torchserve_inference),
            accepts_tcp(ports.torchserve_inference),
            environment,
        ),
        ChildPlan(
            "tfserving",
            (sys.executable, "-m", *tfserving),
            LogFile(places.logs / "tfserving.log"),
            answers_http_at_all(ports.tfserving_rest),
            accepts_tcp(ports.tfserving_grpc),
            environment,
        ),
        ChildPlan(
            GATEWAY,
            (sys.executable, "-m", "gateway"),
            LogFile(places.logs / "gateway.log"),
            answers_http_at_all(ports.http),
            answers_http(ports.http, "/v2/health/ready"),
            gateway_environment,
        ),
    )


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
        f"  torchserve   http://{LOOPBACK}:{ports.torchserve_inference}   TorchServe",
        f"  tfserving    grpc {LOOPBACK}:{ports.tfserving_grpc}, {rest}   {implementation}",
        "",
        "  Try, in another terminal:",
        f"    curl -F image=@docs/digits/7.png {url}/models/mnist/classify",
        "    .venv/bin/twinserve predict docs/digits/7.png --engine tfserving",
        "",
        "  Ctrl-C stops everything.",
    ]
