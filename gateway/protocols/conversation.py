"""One inference request of any dialect on any transport: choose the version, decode, infer, encode, measure.

Rules: a transport says who asks for what (`Call`), a dialect how its bytes become tensors and back (`Question`);
routing, deadlines, retries, stages and events are the same for all of them. Must not know any transport, nor how
anything looks on a wire.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Protocol

from gateway.core.errors import DeadlineExceeded, InvalidRequest, NotFound, ServingError
from gateway.core.flight import Flight
from gateway.core.inference import Inference
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.router import Router, VersionRoute
from gateway.core.usage import Stages
from gateway.protocols.call import Call, Decode, Question, Reply, T
from gateway.protocols.counting import Counting
from gateway.protocols.witness import Account, Witness

log = logging.getLogger(__name__)

_LONGEST_VERSION_DIGITS = 18
_MOST_ATTEMPTS = 4


class RequestEvents(Protocol):
    """Whoever counts requests. Neither method raises."""

    def request_answered(self, model: str, version: int, engine: str, protocol: str, stages_s: Stages) -> None:
        """A request was answered."""

    def request_failed(
        self, model: str, version: str, engine: str, protocol: str, outcome: str, seconds: float
    ) -> None:
        """A request was refused or failed; model and version are empty unless they exist, engine unless asked."""


@dataclass(frozen=True, slots=True)
class ConversationLimits:
    """How long a client may wait, and how long when it does not say."""

    default_timeout_s: float
    longest_timeout_s: float


class Conversation:
    """Answers calls."""

    def __init__(
        self,
        inference: Inference,
        router: Router,
        events: RequestEvents,
        limits: ConversationLimits,
        witness: Witness | None = None,
    ) -> None:
        """`witness` is for the transports, which begin the accounts."""
        self.witness = witness
        self._inference = inference
        self._router = router
        self._events = events
        self._limits = limits

    def counting(self, protocol: str, model: str, version: str | None, account: Account | None = None) -> Counting:
        """Count what goes wrong in a `with` block, once; all that leaves it is a ServingError or CancelledError.

        `version` as the client wrote it. Bugs are logged, and told as what they are not.
        """
        return Counting(self.count_failure, (protocol, model, version), perf_counter(), account)

    def check_exists(self, call: Call) -> None:
        """Raises NotFound: for transports that can refuse before they have read a body."""
        self._router.version(call.model, call.version)

    async def hold(self, call: Call, decode: Decode[T]) -> Reply[T]:
        """Answer a call; `decode` is asked once for each version that is tried, mostly one.

        Raises what `decode` and `Inference.infer` raise, and DeadlineExceeded when decoding takes too long.
        """
        question, answer, decoded = await self._ask(call, decode)
        answered = perf_counter()
        if question.encode_aside is None:
            content = question.encode(answer)
        else:
            content = await question.encode_aside(answer)
        return self._reply(call, answer, content, decoded, answered)

    def start(self, call: Call, decode: Decode[T], then: Callable[[Reply[T] | ServingError], None]) -> Flight | None:
        """Answer a call for somebody who does not wait: `then` is told, perhaps before this returns.

        None: something would have to be waited for, and nothing has been done yet; `hold` does that. It is also what
        is left to do when `then` is told NotFound for a call that names no version.

        Raises what `decode` raises, NotFound, InvalidRequest.
        """
        route = self._router.version(call.model, call.version, call.route_key, call.engine)
        question = decode(route)
        if not isinstance(question, Question):
            if isinstance(question, Coroutine):
                question.close()
            return None
        if question.encode_aside is not None or question.may_be_empty:
            return None
        engine = _choose_engine(call.engine, question.engine)
        if engine != call.engine:
            if engine is not None:
                self._router.check_engine(engine)
            if self._router.version(call.model, call.version, call.route_key, engine) is not route:
                return None  # the canary does not run on the engine that the body asks for
        asked = self._request(call, route, question, engine)
        landed = partial(self._land, call, question, perf_counter(), then)
        return self._inference.begin(asked, landed, route)

    def _land(
        self,
        call: Call,
        question: Question[T],
        decoded: float,
        then: Callable[[Reply[T] | ServingError], None],
        outcome: InferAnswer | ServingError,
    ) -> None:
        answered = perf_counter()
        if isinstance(outcome, ServingError):
            then(outcome)
            return
        try:
            content = question.encode(outcome)
        except ServingError as error:
            then(error)
        except Exception:
            log.exception("a bug kept an answer from being written")
            then(ServingError("internal error; see the gateway's log"))
        else:
            then(self._reply(call, outcome, content, decoded, answered))

    def _reply(self, call: Call, answer: InferAnswer, content: T, decoded: float, answered: float) -> Reply[T]:
        finished = perf_counter()
        stages_s = Stages(
            decoded - call.started, answer.queue_s, answer.upstream_s, finished - answered, finished - call.started
        )
        self._events.request_answered(call.model, answer.version, answer.engine, call.protocol, stages_s)
        if call.account is not None:
            call.account.answered(call.model, answer.version, answer.engine, call.protocol, stages_s)
        return Reply(content, answer.engine, answer.version, stages_s)

    async def _ask(self, call: Call, decode: Decode[T]) -> tuple[Question[T], InferAnswer, float]:
        """The question, its answer, and when (perf_counter) it was decoded."""
        forced = call.engine
        attempts = 0
        while True:
            attempts += 1
            route = self._router.version(call.model, call.version, call.route_key, forced)
            question = decode(route)
            if not isinstance(question, Question):
                question = await self._wait_decoded(question)
            engine = _choose_engine(call.engine, question.engine)
            if engine is not None:
                self._router.check_engine(engine)
            if engine != forced:
                forced = engine
                if self._router.version(call.model, call.version, call.route_key, forced) is not route:
                    continue  # the canary does not run on the engine that the body asks for
            asked = self._request(call, route, question, engine)
            decoded = perf_counter()
            if question.may_be_empty and (empty := _answer_without_rows(asked, route)) is not None:
                return question, empty, decoded
            try:
                return question, await self._inference.infer(asked), decoded
            except NotFound:
                # It left while the body was decoded, or lost all its engines and was withdrawn.
                if call.version is not None or attempts >= _MOST_ATTEMPTS:
                    raise

    def _request(self, call: Call, route: VersionRoute, question: Question[T], engine: str | None) -> InferRequest:
        if call.account is not None:
            call.account.asked(question.inputs, route.signature.is_batchable)
        return InferRequest(
            model=call.model,
            version=route.version,  # the one whose signature the body was decoded with
            inputs=question.inputs,
            deadline=call.arrived + self._timeout_s(call, question.timeout_s),
            engine=engine,
            outputs=question.outputs,
        )

    def _timeout_s(self, call: Call, asked_s: float | None) -> float:
        """The client's word in the body, else the transport's, else the default; never beyond the transport's."""
        wished_s = asked_s or call.timeout_s or self._limits.default_timeout_s
        bound_s = self._limits.longest_timeout_s
        return min(wished_s, bound_s, bound_s if call.timeout_s is None else call.timeout_s)

    async def _wait_decoded(self, decoding: Awaitable[Question[T]]) -> Question[T]:
        seconds = self._limits.default_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await decoding
        except TimeoutError as error:
            raise DeadlineExceeded(f"the request could not be decoded within {seconds:g} s") from error

    def count_failure(
        self,
        protocol: str,
        model: str,
        version: str | None,
        error: ServingError,
        began: float,
        account: Account | None = None,
    ) -> None:
        """Count a failed call that no `counting` block sees; `began` on perf_counter's clock.

        Only names that exist become labels: a client must not be able to grow the metrics.
        """
        try:
            known = str(error.version or self._router.version(model, parse_version(model, version)).version)
        except NotFound:
            model = known = ""
        seconds = perf_counter() - began
        self._events.request_failed(model, known, error.engine, protocol, error.outcome, seconds)
        if account is not None:
            account.failed(model, known, protocol, error, seconds)


def _answer_without_rows(asked: InferRequest, route: VersionRoute) -> InferAnswer | None:
    if route.signature.count_rows(asked.inputs) or (outputs := route.signature.answer_without_rows()) is None:
        return None
    route.signature.check_requested(asked.outputs)
    wanted = {name: outputs[name] for name in asked.outputs or outputs}
    return InferAnswer(asked.model, asked.version, asked.engine or "", wanted, queue_s=0.0, upstream_s=0.0)


def parse_version(model: str, version: str | None) -> int | None:
    """The version that a client wrote. Raises NotFound: what is no positive integer is the name of no version."""
    if version is None:
        return None
    if version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= _LONGEST_VERSION_DIGITS:
        return int(version)
    raise NotFound(f"unknown version {version[:40]!r} of model {model!r}: expected a positive integer")


def _choose_engine(named: str | None, parameter: str | None) -> str | None:
    if named is not None and parameter is not None and named != parameter:
        raise InvalidRequest(f"X-Engine says {named!r}, parameter 'engine' says {parameter!r}: expected one engine")
    return named if named is not None else parameter
