"""A request that names no version outlives a version that leaves while it is decoded."""

from starlette.requests import Request
from starlette.types import Message

from gateway.core.errors import ServingError, VersionLeft
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.router import ModelRoute, Router, RoutingTable, VersionRoute
from gateway.protocols.call import Question
from gateway.protocols.conversation import Conversation, ConversationLimits
from gateway.protocols.exchange import Exchange, ExchangeLimits, HttpContent
from tests.unit.gateway.adder import ADDER, numbers


class Leaving:
    """Stands in for the use case: version 2 has left when it is asked, and 3 is live by then."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.asked: list[int | None] = []

    async def infer(self, request: InferRequest) -> InferAnswer:
        self.asked.append(request.version)
        if request.version == 2:
            self.router.assign(table(live=3), now=0)
            raise VersionLeft("version 2 has left")
        assert request.version
        return InferAnswer("adder", request.version, "torchserve", {}, 0.0, 0.0)


class Codec:
    protocol = "test"

    def encode_error(self, error: ServingError) -> bytes:
        return error.message.encode()

    def __init__(self) -> None:
        self.decoded: list[tuple[bytes, int]] = []

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question[HttpContent]:
        self.decoded.append((body, route.version))
        return Question(inputs=numbers(1), encode=lambda answer: (b"done", {}))


class Uncounted:
    def request_answered(self, *_: object) -> None: ...

    def request_failed(self, *_: object) -> None: ...


def table(live: int) -> RoutingTable:
    route = ModelRoute("adder", live, {}, {live: VersionRoute(live, ADDER, None, {})})
    return RoutingTable(("torchserve",), {"adder": route})


def request() -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"what was sent", "more_body": False}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}, receive)


def make_exchange(inference: Leaving, router: Router) -> Exchange:
    conversation = Conversation(inference, router, Uncounted(), ConversationLimits(5, 5))  # type: ignore[arg-type]
    return Exchange(conversation, ExchangeLimits(1000, 5))


async def test_it_is_decoded_again_for_the_version_that_is_live_now() -> None:
    router = Router(("torchserve",))
    router.assign(table(live=2), now=0)
    inference, codec = Leaving(router), Codec()
    exchange = make_exchange(inference, router)
    response = await exchange.run(codec, request(), "adder", None)
    assert (response.status_code, response.headers["X-Model-Version"]) == (200, "3")
    assert codec.decoded == [(b"what was sent", 2), (b"what was sent", 3)]


async def test_who_names_the_version_is_told_that_it_has_left() -> None:
    router = Router(("torchserve",))
    router.assign(table(live=2), now=0)
    inference, codec = Leaving(router), Codec()
    exchange = make_exchange(inference, router)
    response = await exchange.run(codec, request(), "adder", "2")
    assert (response.status_code, inference.asked) == (404, [2])
