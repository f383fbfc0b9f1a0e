"""What every transport shares: whose deadline counts, and how failures are counted."""

import asyncio
from typing import Any

import pytest

from gateway.core.errors import InvalidRequest, NotFound, ServingError
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.router import ModelRoute, Router, RoutingTable, VersionRoute
from gateway.protocols.call import Call, Question
from gateway.protocols.conversation import Conversation, ConversationLimits, parse_version
from tests.unit.gateway.adder import ADDER, numbers


class Recorder:
    """Stands in for the use case, and for whoever counts."""

    def __init__(self) -> None:
        self.asked: list[InferRequest] = []
        self.answered: list[tuple[Any, ...]] = []
        self.failed: list[tuple[Any, ...]] = []

    async def infer(self, request: InferRequest) -> InferAnswer:
        self.asked.append(request)
        return InferAnswer("adder", request.version, "torchserve", {}, 0.25, 0.5)

    def request_answered(self, *told: Any) -> None:
        self.answered.append(told)

    def request_failed(self, *told: Any) -> None:
        self.failed.append(told)


def make(recorder: Recorder) -> Conversation:
    router = Router(("torchserve", "tfserving"))
    routes = {2: VersionRoute(2, ADDER, None, {})}
    router.assign(RoutingTable(("torchserve", "tfserving"), {"adder": ModelRoute("adder", 2, {}, routes)}), now=0)
    whoever: Any = recorder
    return Conversation(whoever, router, recorder, ConversationLimits(default_timeout_s=30, longest_timeout_s=600))


def call(**fields: Any) -> Call:
    return Call(protocol="test", model="adder", version=None, route_key="", **fields)


def decoder(rows: int = 1, **fields: Any) -> Any:
    async def decode(_: VersionRoute) -> Question[str]:
        return Question(numbers(rows), lambda answer: f"answered by {answer.engine}", **fields)

    return decode


@pytest.mark.parametrize(
    ("transport_s", "body_s", "expected_s"),
    [
        (None, None, 30),
        (None, 5, 5),
        (None, 10_000, 600),
        (2, None, 2),
        (100, None, 100),
        (10_000, None, 600),
        (2, 5, 2),
        (5, 2, 2),
        (0, None, 0),
        (0, 5, 0),
    ],
)
async def test_the_deadline(transport_s: float | None, body_s: float | None, expected_s: float) -> None:
    recorder = Recorder()
    made = call(timeout_s=transport_s)
    await make(recorder).hold(made, decoder(timeout_s=body_s))
    assert recorder.asked[0].deadline - made.arrived == pytest.approx(expected_s)


async def test_a_reply_says_where_the_time_went() -> None:
    recorder = Recorder()
    reply = await make(recorder).hold(call(), decoder())
    assert (reply.content, reply.engine, reply.version) == ("answered by torchserve", "torchserve", 2)
    assert (reply.stages_s.queue, reply.stages_s.upstream) == (0.25, 0.5)
    assert reply.server_timing.split(";")[0] == "decode"
    assert recorder.answered == [("adder", 2, "torchserve", "test", reply.stages_s)]


async def test_the_engine_is_named_once_or_twice_alike() -> None:
    recorder = Recorder()
    await make(recorder).hold(call(engine="tfserving"), decoder(engine="tfserving"))
    assert recorder.asked[0].engine == "tfserving"
    with pytest.raises(InvalidRequest, match="expected one engine"):
        await make(recorder).hold(call(engine="tfserving"), decoder(engine="torchserve"))


async def test_no_rows_take_no_engine_where_the_dialect_answers_them() -> None:
    recorder = Recorder()
    reply = await make(recorder).hold(call(), decoder(rows=0, may_be_empty=True))
    assert (reply.version, recorder.asked) == (2, [])
    await make(recorder).hold(call(), decoder(rows=0))
    assert len(recorder.asked) == 1, "the core is asked, and refuses"


def test_a_failure_is_counted_once_with_names_that_exist() -> None:
    recorder = Recorder()
    conversation = make(recorder)
    for model, version, error in (
        ("adder", None, InvalidRequest("x")),
        ("adder", "2", InvalidRequest("x")),
        ("adder", "made up", NotFound("x")),
        ("made up", None, NotFound("x")),
    ):
        with pytest.raises(type(error)), conversation.counting("test", model, version):
            raise error
    assert [told[:5] for told in recorder.failed] == [
        ("adder", "2", "", "test", "invalid"),
        ("adder", "2", "", "test", "invalid"),
        ("", "", "", "test", "not_found"),
        ("", "", "", "test", "not_found"),
    ]
    assert all(told[5] >= 0 for told in recorder.failed)


def test_a_bug_is_told_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with pytest.raises(ServingError) as caught, make(recorder).counting("test", "adder", None):
        raise KeyError("a secret")
    assert caught.value.message == "internal error; see the gateway's log"
    assert "a secret" in caplog.text
    assert recorder.failed[0][4] == "error"


def test_whoever_leaves_is_counted_as_such() -> None:
    recorder = Recorder()
    with pytest.raises(asyncio.CancelledError), make(recorder).counting("test", "adder", None):
        raise asyncio.CancelledError
    assert recorder.failed[0][4] == "cancelled"


@pytest.mark.parametrize("written", ["0", "01", "-1", "+1", "1.0", " 1", "latest", "", "１", "9" * 19])
def test_what_names_no_version(written: str) -> None:
    with pytest.raises(NotFound, match="expected a positive integer"):
        parse_version("adder", written)
