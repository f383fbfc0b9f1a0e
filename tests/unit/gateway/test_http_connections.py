"""Connections to a real server on loopback that answers by a script, on both event loops that there are."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from gateway.engines import http_connections
from gateway.engines.http_connections import Answer, AnswerTooLong, HttpConnections, NoAnswer
from tests.unit.gateway.scripted_server import CLOSE, NEVER, OK, Server, listening

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: v\r\n\r\n"
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
LIMIT_BYTES = 1000
PATIENCE_S = 10.0

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the:pytest.PytestDeprecationWarning")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@asynccontextmanager
async def talking(*answers: bytes) -> AsyncIterator[tuple[Server, HttpConnections]]:
    async with listening(Server(list(answers))) as server:
        connections = HttpConnections(server.url, 2.0, LIMIT_BYTES)
        yield server, connections
        connections.close()


async def ask(connections: HttpConnections, body: bytes = b"ab", timeout_s: float = PATIENCE_S) -> Answer:
    deadline = asyncio.get_running_loop().time() + timeout_s
    pieces: list[bytes | memoryview] = [memoryview(body)[:1], body[1:]]
    return await connections.post("/a b/1", (("Authorization", "Bearer t"),), pieces, deadline)


async def until_ended(server: Server, number: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await server.ended.get() != number:
            pass


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, (200, b"ok")),
        (CHUNKED, (200, b"ok")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, (200, b"ok")),
        (b"HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n", (404, b"")),  # as TorchServe writes it, without a reason
        (b"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\n" + b"x" * 900, (503, b"x" * 900)),
    ],
)
async def test_answers_on_one_connection(answer: bytes, expected: Answer) -> None:
    async with talking(answer, answer) as (server, connections):
        assert [await ask(connections), await ask(connections), await ask(connections)] == [
            *[expected] * 2,
            (200, b"ok"),
        ]
        assert server.used() == [1, 1, 1]
        _, head, body = server.requests[0]
        lines = head.decode().splitlines()
        assert lines[:3] == ["POST /a%20b/1 HTTP/1.1", f"Host: {server.url[7:]}", "Authorization: Bearer t"]
        assert body == b"ab"


async def test_an_answer_in_many_segments() -> None:
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    listener = await asyncio.start_server(lambda _, writer: writers.put_nowait(writer), "127.0.0.1", 0)
    connections = HttpConnections(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", 2.0, LIMIT_BYTES)
    asking = asyncio.ensure_future(ask(connections))
    writer = await writers.get()
    for byte in CHUNKED:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)  # gives the reader its turn
    assert await asking == (200, b"ok")
    connections.close()
    writer.close()
    listener.close()


@pytest.mark.parametrize("bad_end", [CLOSING, OK + b"HTTP/1.1 200 OK\r\n", OK + CLOSE], ids=["said", "more", "silent"])
async def test_a_connection_that_ends_with_an_answer_is_not_used_again(bad_end: bytes) -> None:
    async with talking(bad_end) as (server, connections):
        assert await ask(connections) == (200, b"ok")
        assert await ask(connections) == (200, b"ok")
        assert server.used() == [1, 2]


async def test_a_request_is_sent_once_more_when_a_kept_connection_closes_without_a_word() -> None:
    async with talking(OK, CLOSE, OK, CLOSE, CLOSE) as (server, connections):
        await ask(connections)
        assert await ask(connections, b"again") == (200, b"ok")
        assert server.used() == [1, 1, 2]
        assert server.requests[1][2] == server.requests[2][2] == b"again"
        with pytest.raises(NoAnswer, match="it closed the connection"):
            await ask(connections)
        assert server.used() == [1, 1, 2, 2, 3], "once, and no more than once"


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (OK[:-1] + CLOSE, NoAnswer, "in the middle of an answer"),
        (OK[:20] + CLOSE, NoAnswer, "in the middle of an answer"),
        (CHUNKED[:-3] + CLOSE, NoAnswer, "in the middle of an answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nwhole or cut?" + CLOSE, NoAnswer, "in the middle of an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NoAnswer, "no HTTP"),
        (CHUNKED.replace(b"1;", b"zz;"), NoAnswer, "no HTTP"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nxxxx", NoAnswer, "no HTTP"),
        (OK.replace(b"2\r\n", b"99999999\r\n") + b"x" * 70_000, AnswerTooLong, "more than"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, AnswerTooLong, "more than"),
    ],
)
async def test_an_answer_that_is_none_is_not_asked_for_twice(
    answer: bytes, error: type[Exception], message: str
) -> None:
    async with talking(OK, answer) as (server, connections):
        await ask(connections)
        with pytest.raises(error, match=message):
            await ask(connections)
        assert await ask(connections) == (200, b"ok")
        assert server.used() == [1, 1, 2]


@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "deadline"])
async def test_what_is_given_up_closes_its_connection(cancel: bool) -> None:
    async with talking(OK, NEVER) as (server, connections):
        await ask(connections)
        asking = asyncio.ensure_future(ask(connections, timeout_s=PATIENCE_S if cancel else 0.05))
        for _ in range(2):
            await server.came.get()
        if cancel:
            asking.cancel()
        with pytest.raises(asyncio.CancelledError if cancel else TimeoutError):
            await asking
        await until_ended(server, 1)
        assert await ask(connections) == (200, b"ok")
        assert server.used() == [1, 1, 2]


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with talking() as (server, connections):
        with pytest.raises(TimeoutError):
            await ask(connections, timeout_s=-1)
        assert server.connections == 0


async def test_an_answer_before_the_request_is_whole_ends_the_connection() -> None:
    """As TorchServe refuses a body over its limit."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    connections = HttpConnections(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", 2.0, LIMIT_BYTES)
    for _ in range(2):
        assert await ask(connections, bytes(32_000_000)) == (413, b"")
    assert len(writers) == 2
    listener.close()


async def test_the_connection_used_last_is_used_next_and_others_are_closed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talking() as (server, connections):
        await asyncio.gather(*(ask(connections) for _ in range(3)))
        assert sorted(server.used()) == [1, 2, 3]
        for _ in range(3):
            await ask(connections)
        assert len(set(server.used()[3:])) == 1
        monkeypatch.setattr(http_connections, "LONGEST_IDLE_S", -1.0)
        await ask(connections)
        assert server.used()[-1] == 4
        async with asyncio.timeout(PATIENCE_S):
            assert {await server.ended.get() for _ in range(3)} == {1, 2, 3}


async def test_closing_ends_idle_connections_at_once_and_busy_ones_with_their_answer() -> None:
    async with talking() as (server, connections):
        await ask(connections)
        connections.close()
        await until_ended(server, 1)
        await ask(connections)
        await until_ended(server, 2)


async def test_nobody_listens() -> None:
    async with listening(Server()) as server:
        url = server.url
    connections = HttpConnections(url, 2.0, LIMIT_BYTES)
    with pytest.raises(NoAnswer, match=r"refused|Connect call failed"):
        await ask(connections)


@pytest.mark.parametrize(("timeout_s", "error"), [(PATIENCE_S, NoAnswer), (0.02, TimeoutError)])
async def test_a_server_that_takes_no_connection(timeout_s: float, error: type[Exception]) -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(listener.getsockname())
        connections = HttpConnections(f"http://127.0.0.1:{listener.getsockname()[1]}", 0.05, LIMIT_BYTES)
        with pytest.raises(error):
            await ask(connections, timeout_s=timeout_s)


@pytest.mark.parametrize("url", ["https://x:1", "x:1", "http://", ""])
def test_only_plain_http_is_spoken(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://"):
        HttpConnections(url, 2.0, LIMIT_BYTES)


def test_a_name_is_looked_up_anew_for_every_connection() -> None:
    """A container that was started again may have another address. uvloop's own look-up cannot be stood in for."""

    async def ask_both() -> list[int]:
        loop = asyncio.get_running_loop()
        address = "127.0.0.1"

        async def look_up(host: str, port: int, **_: int) -> list[tuple[object, ...]]:
            assert host == "engine"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        loop.getaddrinfo = look_up  # type: ignore[assignment, method-assign]
        async with listening(Server([OK, CLOSE])) as first:
            port = int(first.url.rpartition(":")[2])
            async with listening(Server(), "127.0.0.2", port) as second:
                connections = HttpConnections(f"http://engine:{port}", 2.0, LIMIT_BYTES)
                await ask(connections)
                address = "127.0.0.2"
                await ask(connections)
                connections.close()
                return [len(server.requests) for server in (first, second)]

    assert asyncio.run(ask_both()) == [2, 1]
