"""Locust's users: a class for each protocol in closed loops, one for all arrivals of an open loop; and their shape."""

from collections.abc import Callable
from typing import ClassVar

from gevent.event import Event
from locust import LoadTestShape, User, task
from locust.exception import StopUser
from locust.runners import MasterRunner, Runner

from loadtest.scenarios.asking import clock
from loadtest.scenarios.clients import Client
from loadtest.scenarios.load import Load
from loadtest.scenarios.shapes import Protocol


class AskingUser(User):
    """Whoever asks the gateway. `load` is this process's run; a worker may be told to begin before it has one."""

    abstract = True
    load: ClassVar[Load]
    has_load: ClassVar[Event] = Event()

    def on_start(self) -> None:
        self.has_load.wait()


class ClosedLoopUser(AskingUser):
    """Asks, waits for the answer, thinks, asks again, over one connection."""

    abstract = True
    protocol: ClassVar[Protocol]
    _made: ClassVar[int] = 0

    def on_start(self) -> None:
        """Begin at a row of one's own."""
        super().on_start()
        ClosedLoopUser._made += 1
        self._number = ClosedLoopUser._made * 7919
        self._client: Client = self.load.make_client(self.protocol, connections=1)

    def on_stop(self) -> None:
        self._client.close()

    def wait_time(self) -> float:
        return self.load.options.think_s

    @task
    def ask(self) -> None:
        """One request."""
        if self.load.stop.is_set():
            raise StopUser
        self._number += 1
        self.load.ask(self.protocol, self._client, self._number, clock())


class JsonUser(ClosedLoopUser):
    """Open Inference Protocol in JSON."""

    protocol = Protocol.JSON


class BinaryUser(ClosedLoopUser):
    """Open Inference Protocol with raw tensors."""

    protocol = Protocol.BINARY


class ImageUser(ClosedLoopUser):
    """Picture files to be classified."""

    protocol = Protocol.IMAGE


class GrpcUser(ClosedLoopUser):
    """Open Inference Protocol over gRPC."""

    protocol = Protocol.GRPC


class ArrivalsUser(AskingUser):
    """Stands for all clients of an open loop: sends each request when it is due, in all protocols of the run."""

    @task
    def send(self) -> None:
        """All arrivals of the run."""
        options = self.load.options
        clients = {
            protocol: self.load.make_client(protocol, options.most_outstanding) for protocol in options.protocols
        }
        try:
            self.load.send_arrivals(clients)
        finally:
            for client in clients.values():
                client.close()
        raise StopUser


CLOSED_LOOP_USERS: tuple[type[ClosedLoopUser], ...] = (JsonUser, BinaryUser, ImageUser, GrpcUser)


def count_generators(runner: Runner) -> int:
    """The processes that share an open loop's rate."""
    return max(1, runner.worker_count) if isinstance(runner, MasterRunner) else 1


class ScenarioShape(LoadTestShape):
    """How many users a scenario has when. In an open loop it is one for each process: the arrivals do the rest."""

    use_common_options = True
    runner: Runner
    prepare: ClassVar[Callable[[], None]]

    def reset_time(self) -> None:
        """A run begins, perhaps not the first: the web form may have changed what is asked for."""
        self.start_time = clock()
        ScenarioShape.prepare()

    def tick(self) -> tuple[int, float] | None:
        """See LoadTestShape: users and how many of them begin a second, or None at the end."""
        load = ArrivalsUser.load
        options, seconds = load.options, clock() - self.start_time
        if options.duration_s is not None and seconds >= options.duration_s:
            return None
        if options.rate_per_s is not None:
            return count_generators(self.runner), 100.0
        users = max(1, round(options.users * options.share_at(seconds)))
        return users, 100.0
