"""One request from its due time to its verdict, and the open loop that sends each when it is due.

Rules: latency counts from when a request was due, so that a slow gateway cannot slow down its own measurement
(Tene, "How NOT to Measure Latency": coordinated omission). Every request ends in exactly one Ended.
"""

import math
import time
from collections.abc import Callable, Iterable

import gevent
from gevent.event import Event
from gevent.pool import Group

from loadtest.scenarios.answers import Answer, Expectation, Fate, find_fault, find_label
from loadtest.scenarios.clients import Client, Lost, Refused
from loadtest.scenarios.dialects import NO_ANSWER, Dialect, Message
from loadtest.scenarios.questions import Question, Questions
from loadtest.scenarios.shapes import Protocol
from loadtest.scenarios.tallies import Ended

clock = time.perf_counter

_COARSE_S = 0.002
_MOMENT_S = 0.25

_FELL_BEHIND = "the load test fell behind: it was due before the end"


class Asker:
    """Asks the questions in one protocol. `expect(from, until)` says what answers of that time must say."""

    def __init__(
        self, protocol: Protocol, dialect: Dialect, questions: Questions, expect: Callable[[float, float], Expectation]
    ) -> None:
        self._protocol = protocol
        self._dialect = dialect
        self._questions = questions
        self._expect = expect
        self._messages: dict[int, Message] = {}

    def prepare(self) -> None:
        """Encode one question, to find out early that this protocol cannot carry them. Raises ValueError."""
        self._message(0, self._questions.at(0))

    def ask(self, client: Client, number: int, due_at: float, phase: str) -> Ended:
        """Ask question `number`; returns when it has its answer, or none. Points in time are of `clock`."""
        question = self._questions.at(number)
        message = self._message(number % len(self._questions.rows), question)
        sent_at = clock()
        answer: Answer | None = None
        try:
            raw = client.send(message)
            ended_at = clock()
            answer = self._dialect.decode(raw.body, raw.headers)
            fault = find_fault(question, answer, self._expect(sent_at, ended_at))
            fate = Fate.WRONG if fault else Fate.RIGHT
        except Refused as error:
            ended_at, fate, fault = clock(), Fate.REFUSED, str(error)
        except Lost as error:
            ended_at, fate, fault = clock(), Fate.LOST, str(error)
        except NO_ANSWER as error:
            fate, fault = Fate.WRONG, f"no answer: {type(error).__name__} {error}"
        return Ended(
            protocol=self._protocol,
            phase=phase,
            fate=fate,
            lateness_s=sent_at - due_at,
            service_s=ended_at - sent_at,
            version=answer.version if answer else "",
            engine=answer.engine if answer else "",
            fault=fault,
            is_label_right=self._is_label_right(question, answer, sent_at, ended_at),
        )

    def _is_label_right(
        self, question: Question, answer: Answer | None, sent_at: float, ended_at: float
    ) -> bool | None:
        if answer is None or question.label is None:
            return None
        return find_label(answer, self._expect(sent_at, ended_at)) == question.label

    def _message(self, row: int, question: Question) -> Message:
        if row not in self._messages:
            self._messages[row] = self._dialect.encode(question)
        return self._messages[row]


class OpenLoop:
    """Calls `send(number, due_at)` in a greenlet of its own at each arrival, however many are still under way.

    `refuse(due_at, why)` is called instead while `most_outstanding` are, and for what was not sent before the end.
    """

    def __init__(
        self, send: Callable[[int, float], None], refuse: Callable[[float, str], None], most_outstanding: int
    ) -> None:
        self._send = send
        self._refuse = refuse
        self._most_outstanding = most_outstanding
        self._under_way = Group()

    def run(self, arrivals: Iterable[float], started_at: float, stop: Event, patience_s: float) -> None:
        """Send at each arrival, in seconds after `started_at`, until there are no more or `stop` is set.

        Every arrival that was due before the stop is sent or refused: who falls behind must not look good. Only those
        of the last moment are sent then, since a run has an end.

        Returns when all have ended; after `patience_s` the rest are killed, which `send` sees as GreenletExit.
        """
        stopped_at = math.inf
        for number, offset_s in enumerate(arrivals):
            due_at = started_at + offset_s
            is_over = _is_set_by(stop, due_at)
            if is_over:
                stopped_at = min(stopped_at, clock())
            if due_at > stopped_at:
                break
            if is_over and due_at < stopped_at - _MOMENT_S:
                self._refuse(due_at, _FELL_BEHIND)
                gevent.sleep(0)  # answers come in meanwhile
            else:
                self._begin(number, due_at)
        self._under_way.join(patience_s)
        self._under_way.kill()

    def _begin(self, number: int, due_at: float) -> None:
        if len(self._under_way) >= self._most_outstanding:
            self._refuse(due_at, f"{self._most_outstanding} answers were owed")
        else:
            self._under_way.add(gevent.spawn(self._send, number, due_at))


def _is_set_by(stop: Event, due_at: float) -> bool:
    """Wait until `due_at`, or the event; whether it is set. Lets other greenlets run even when `due_at` has passed.

    The event loop's timers are whole milliseconds: the last two are spent going round, to be on time.
    """
    stop.wait(max(0.0, due_at - clock() - _COARSE_S))
    while not stop.is_set() and clock() < due_at:
        gevent.sleep(0)
    return bool(stop.is_set())
