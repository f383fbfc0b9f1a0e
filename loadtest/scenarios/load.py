"""One process's part of a load run: what its users ask with, what came of it, and what it adds up to."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest.admin import Gateway
from loadtest.arrivals import varying_arrivals
from loadtest.scenarios.answers import Expectation, Fate
from loadtest.scenarios.asking import Asker, OpenLoop, clock
from loadtest.scenarios.clients import Client, Grpc, Http, prepare_grpc
from loadtest.scenarios.dialects import make_dialect
from loadtest.scenarios.disturbances import CannotDisturb, Disturbing, Kill, Swaps
from loadtest.scenarios.live_versions import LiveVersions
from loadtest.scenarios.operators import Operator
from loadtest.scenarios.options import Options
from loadtest.scenarios.questions import Questions
from loadtest.scenarios.shapes import Disturbance, Protocol
from loadtest.scenarios.summaries import Incident
from loadtest.scenarios.tallies import Ended, Tally

PATIENCE_S = 10.0
"""How long answers are waited for when a run ends."""

_NEEDS_TOKEN = "hot-swap needs the operators' token: set TWINSERVE_ADMIN_TOKEN, or run this where `twinserve up` runs"  # noqa: S105


class LoadFault(Exception):
    """What Locust's reports show of a request that did not get a right answer."""


@dataclass
class Clock:
    """When a run began and ended; None while it has not. `wall_s` is Unix time."""

    started_at: float = 0.0
    wall_s: float = 0.0
    ended_at: float | None = None

    @property
    def elapsed_s(self) -> float:
        return (clock() if self.ended_at is None else self.ended_at) - self.started_at


class Load:
    """A run from `begin` to `end`; it may be begun again. `say` tells a person what happens."""

    def __init__(
        self, options: Options, questions: Questions, environment: Environment, say: Callable[[str], None]
    ) -> None:
        self.options = options
        self.questions = questions
        self._environment = environment
        self._say = say
        self._askers: dict[Protocol, Asker] = {}
        self._disturber: tuple[Disturbing, gevent.Greenlet] | None = None
        self._is_grpc_ready = False
        self.stop = Event()
        self.under_way = 0
        self.clock = Clock()
        self.tally = Tally()
        self.unreported = Tally()
        self.live = LiveVersions()

    def begin(self, options: Options) -> None:
        """Forget what was, and begin. Raises CannotDisturb."""
        self.options = options
        self._askers = {}
        self.stop.clear()
        self.tally, self.unreported, self.live = Tally(), Tally(), LiveVersions()
        self.clock = Clock(clock(), time.time())
        disturbing = None if isinstance(self._environment.runner, WorkerRunner) else self._make_disturbing()
        if disturbing:
            self._disturber = disturbing, gevent.spawn(disturbing.run, self.clock.started_at, self.stop)

    def end(self) -> None:
        """Send nothing more, and wait until what was done to the platform is undone."""
        self.stop.set()
        if self.clock.ended_at is None:
            self.clock.ended_at = clock()
        if self._disturber:
            self._disturber[1].join()

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return tuple(self._disturber[0].incidents) if self._disturber else ()

    def make_client(self, protocol: Protocol, connections: int) -> Client:
        """A client of one user, or of a whole open loop."""
        options = self.options
        if protocol is not Protocol.GRPC:
            return Http(options.url, connections, options.timeout_s, options.engine)
        if not self._is_grpc_ready:
            prepare_grpc()
            self._is_grpc_ready = True
        return Grpc(options.grpc_address, options.timeout_s, options.engine)

    def ask(self, protocol: Protocol, client: Client, number: int, due_at: float) -> None:
        """Ask one question, and count what comes of it, here and with Locust."""
        phase = self.options.phase_at(due_at - self.clock.started_at)
        self.under_way += 1
        try:
            ended = self.asker(protocol).ask(client, number, due_at, phase)
        except gevent.GreenletExit:
            lost_s = clock() - due_at
            self.record(Ended(protocol, phase, Fate.LOST, 0.0, lost_s, fault="no answer before the run ended"))
            raise
        except Exception as error:  # noqa: BLE001 - our own fault; a request without a verdict would go unnoticed
            lost_s = clock() - due_at
            fault = f"the load test failed: {type(error).__name__} {error}"
            ended = Ended(protocol, phase, Fate.LOST, 0.0, lost_s, fault=fault)
        finally:
            self.under_way -= 1
        self.record(ended)

    def asker(self, protocol: Protocol) -> Asker:
        """The one for a protocol."""
        if protocol not in self._askers:
            dialect = make_dialect(protocol, self.options.model)
            self._askers[protocol] = Asker(protocol, dialect, self.questions, self._expect)
        return self._askers[protocol]

    def record(self, ended: Ended) -> None:
        """Count one request."""
        self.tally.add(ended)
        self.unreported.add(ended)
        is_sent = ended.fate is not Fate.NOT_SENT
        self._environment.events.request.fire(
            request_type=ended.protocol,
            name=self.options.model,
            response_time=ended.latency_s * 1000 if is_sent else None,
            response_length=0,
            exception=LoadFault(f"{ended.fate}: {ended.fault}") if ended.fate is not Fate.RIGHT else None,
            context={},
        )

    def send_arrivals(self, clients: Mapping[Protocol, Client]) -> None:
        """This process's share of the open loop, until the run ends.

        Each request's protocol is drawn: taking turns, they would keep step with the gateway's turns among engines.
        """
        options = self.options
        seed = options.seed + max(0, getattr(self._environment.runner, "worker_index", 0))
        draw = random.Random(seed)  # noqa: S311 - no secret
        rate_per_s = (options.rate_per_s or 0.0) / options.generators
        arrivals = varying_arrivals(
            lambda offset_s: rate_per_s * options.share_at(offset_s),
            rate_per_s,
            seed,
            options.duration_s or float("inf"),
        )

        def send(number: int, due_at: float) -> None:
            protocol = draw.choice(options.protocols)
            self.ask(protocol, clients[protocol], number, due_at)

        def refuse(due_at: float, why: str) -> None:
            phase = options.phase_at(due_at - self.clock.started_at)
            self.record(Ended(draw.choice(options.protocols), phase, Fate.NOT_SENT, 0.0, 0.0, fault=why))

        loop = OpenLoop(send, refuse, options.most_outstanding)
        self.under_way += 1  # a worker's last report waits until all is sent or refused
        try:
            loop.run(arrivals, self.clock.started_at, self.stop, PATIENCE_S)
        finally:
            self.under_way -= 1
        self.stop.wait()

    def report(self, data: dict[str, Any]) -> None:
        """Attach what has ended since the last report to one that goes to Locust's master."""
        data["twinserve"] = self.unreported.to_document()
        self.unreported = Tally()

    def take(self, data: Mapping[str, Any]) -> None:
        """Count what a worker reports."""
        if "twinserve" in data:
            self.tally.merge(Tally.from_document(data["twinserve"]))

    def _expect(self, begins: float, ends: float) -> Expectation:
        image = self.questions.image
        return Expectation(
            self.live.between(begins, ends),
            self.options.engine,
            image.output if image else None,
            image.labels if image else (),
        )

    def _make_disturbing(self) -> Disturbing | None:
        options = self.options
        if options.scenario.disturbance is Disturbance.KILL:
            return Kill(options, self._say)
        if options.scenario.disturbance is Disturbance.SWAPS:
            if options.token is None:
                raise CannotDisturb(_NEEDS_TOKEN)
            operator = Operator(Gateway(options.url, options.token), options.model)
            return Swaps(operator, self.live, options.duration_s or 0.0, self._say)
        return None

    @property
    def seconds(self) -> float:
        """How long the run has been going, or went."""
        return self.clock.elapsed_s
