"""Open-loop load: every request is sent when it is due, however many answers are owed.

Rules: latency counts from the moment a request was due, so that a slow server cannot slow down its own measurement
(Tene, "How NOT to Measure Latency": coordinated omission). Every arrival ends in exactly one outcome.
"""

import asyncio
import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import aiohttp

from contracts.oip_bodies import HEADER_LENGTH
from loadtest.known_answers import KnownAnswers

WRONG = "wrong"
_LONGEST_FAULT = 200


class Fate(enum.StrEnum):
    """How an arrival ended."""

    ANSWERED = "answered"  # status 200 with a whole body
    FAILED = "failed"  # another status
    LOST = "lost"  # sent, and no whole answer came back
    NOT_SENT = "not sent"  # too many answers were owed


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arrival. Times are in seconds, `due_at` and `ended_at` points in time of the event loop's clock.

    `lag_s` is how late this process sent it. `fault` says what is wrong: with the answer of an answered request, else
    why there is none.
    """

    number: int
    fate: Fate
    due_at: float
    ended_at: float
    lag_s: float = 0.0
    status: int = 0
    engine: str = ""
    version: str = ""
    request_id: str = ""
    fault: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it was answered, but not rightly."""
        return self.fate is Fate.ANSWERED and bool(self.fault)

    @property
    def latency_s(self) -> float:
        """From the moment it was due to the last byte of its answer."""
        return self.ended_at - self.due_at


@dataclass(frozen=True)
class Target:
    """What is asked: one model of one gateway; `engine` is forced when it is not None."""

    url: str
    model: str
    engine: str | None = None
    most_outstanding: int = 2000
    timeout_s: float = 60.0

    @property
    def infer_url(self) -> str:
        return f"{self.url}/v2/models/{self.model}/infer"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.engine is None else {"X-Engine": self.engine}


class OpenLoop:
    """Sends known cases in turn. `outcomes` grows as they end; `outstanding` counts the answers that are owed.

    `counts` has the outcomes by fate, and answers with a fault under "wrong".
    """

    def __init__(self, target: Target, known: KnownAnswers, run_name: str) -> None:
        self._target = target
        self._known = known
        self._run_name = run_name
        self.outcomes: list[Outcome] = []
        self.counts: Counter[str] = Counter()
        self.outstanding = 0

    async def run(self, arrivals: Iterable[float], stop: asyncio.Event) -> None:
        """Send a request at each arrival, in seconds from now, until there are no more or `stop` is set.

        Returns when every request that was sent has its outcome, at the latest a timeout after the last was sent.
        """
        clock = asyncio.get_running_loop().time
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as sending,
        ):
            started_at = clock()
            for number, offset_s in enumerate(arrivals):
                due_at = started_at + offset_s
                if await is_set_by(stop, due_at):
                    break
                if self.outstanding >= self._target.most_outstanding:
                    self._refuse(number, due_at, clock())
                    continue
                self.outstanding += 1
                sending.create_task(self._send(session, number, due_at))

    def _refuse(self, number: int, due_at: float, now: float) -> None:
        fault = f"{self.outstanding} answers were owed"
        self._record(Outcome(number, Fate.NOT_SENT, due_at, now, now - due_at, fault=fault))

    async def _send(self, session: aiohttp.ClientSession, number: int, due_at: float) -> None:
        clock = asyncio.get_running_loop().time
        case = number % len(self._known.cases)
        request_id = f"{self._run_name}-{number}"
        headers = {**self._known.cases[case].headers, **self._target.headers, "X-Request-Id": request_id}
        lag_s = clock() - due_at
        try:
            async with session.post(
                self._target.infer_url, data=self._known.cases[case].body, headers=headers
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            fault = _shorten(f"{type(error).__name__}: {error}")
            self._end(Outcome(number, Fate.LOST, due_at, clock(), lag_s, request_id=request_id, fault=fault))
            return
        ended_at = clock()
        if response.status == 200:
            fate, fault = Fate.ANSWERED, self._find_fault(case, request_id, response.headers, content)
        else:
            fate, fault = Fate.FAILED, _shorten(content.decode(errors="replace"))
        self._end(
            Outcome(
                number,
                fate,
                due_at,
                ended_at,
                lag_s,
                status=response.status,
                engine=response.headers.get("X-Engine", ""),
                version=response.headers.get("X-Model-Version", ""),
                request_id=response.headers.get("X-Request-Id", ""),
                fault=fault,
            )
        )

    def _end(self, outcome: Outcome) -> None:
        self.outstanding -= 1
        self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.counts[outcome.fate] += 1
        self.counts[WRONG] += outcome.is_wrong

    def _find_fault(self, case: int, request_id: str, headers: Mapping[str, str], content: bytes) -> str:
        if headers.get("X-Request-Id") != request_id:
            return f"the answer to {request_id} has X-Request-Id {headers.get('X-Request-Id')!r}"
        engine = headers.get("X-Engine")
        if not engine or self._target.engine not in (None, engine):
            return f"X-Engine is {engine!r}, asked was {self._target.engine or 'any'}"
        return self._known.find_fault(case, headers.get("X-Model-Version"), content, headers.get(HEADER_LENGTH))


async def is_set_by(event: asyncio.Event, when: float) -> bool:
    """Wait until `when`, a point in time of the event loop's clock, or the event; whether it is set.

    Lets other tasks run even when `when` has passed.
    """
    try:
        async with asyncio.timeout_at(when):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


def _shorten(text: str) -> str:
    return text[:_LONGEST_FAULT]
