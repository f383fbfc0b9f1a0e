"""Raw bytes against a listening gateway: every connection ends in a clear answer or closed, and the next one works."""

from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

from gateway import guarded_connection, outer_edge
from tests.platform_process import wait_until
from tests.unit.gateway.listening import GOOD, INFER, Listening, read_all


@pytest.fixture(autouse=True)
def _still_well(listening: Listening) -> Iterator[None]:
    yield
    listening.assert_well()


@pytest.mark.parametrize(
    ("sent", "statuses", "why"),
    [
        (b"\x00\xff\xfe" * 100 + b"\r\n\r\n", {400}, "no HTTP"),
        (b"GET\r\n\r\n", {400}, "no path"),
        (b"GET / HTTP/9.9\r\n\r\n", {400}, "no such version"),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", {400}, "path is no ASCII"),
        (b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {404}, "odd path"),
        (b"GET /v2/models/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nconnection: close\r\n\r\n", {404}, "path trick"),
        (b"GET /static-offline-docs/../../app.py HTTP/1.1\r\nconnection: close\r\n\r\n", {404}, "path trick"),
        (b"GET /static-offline-docs/%2e%2e/%2e%2e/x HTTP/1.1\r\nconnection: close\r\n\r\n", {404}, "path trick"),
        (INFER + b"content-length: -5\r\n\r\n", {400}, "negative length"),
        (INFER + b"content-length: 1e3\r\n\r\n", {400}, "no length"),
        (INFER + b"content-length: 99999999999999999999999\r\n\r\n", {400}, "length over 64 bits"),
        (INFER + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", {400}, "two lengths"),
        (INFER + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", {400}, "smuggling"),
        (INFER + b"content-length: 200000\r\nconnection: close\r\n\r\n", {413}, "over the limit, unsent"),
        (INFER + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", {400}, "broken chunk"),
        (INFER + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", {400}, "endless chunk"),
        (INFER + b"connection: close\r\ncontent-length: %d\r\n\r\n" % (len(GOOD) - 9) + GOOD, {400}, "short length"),
        (INFER + b"content-length: 99\r\n\r\n{", {408}, "a body that never comes"),
        (INFER + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", {408}, "chunks that never end"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {404, 405, 400}, "no resource"),
        (
            b"GET /v2 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n",
            {200, 400},
            "upgrade",
        ),
        (b"GET /v2 HTTP/1.1\r\nx: y\r\n z: folded\r\nconnection: close\r\n\r\n", {200, 400}, "folded header"),
    ],
)
def test_one_connection(listening: Listening, sent: bytes, statuses: set[int], why: str) -> None:
    received = listening.send(sent)
    assert received.startswith(b"HTTP/1.1 "), (why, received[:100])
    assert int(received.split()[1]) in statuses, (why, received[:200])


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_offer_to_upgrade_is_passed_over_with_its_body_read(listening: Listening, size: int) -> None:
    """As curl --http2 and Java's client make it; in pieces of any size, and a second request on the same connection."""
    one = INFER + OFFER + b"content-length: %d\r\n\r\n" % len(GOOD) + GOOD
    two = INFER + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(GOOD) + GOOD
    chunked = INFER + OFFER + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n"
    sent = one + chunked + one + two
    received = listening.send(*(sent[start : start + size] for start in range(0, len(sent), size)))
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b'"data":[2.0,4.0]') == 4, received


def test_the_next_request_may_be_half_there_when_one_is_answered(listening: Listening) -> None:
    head = INFER + b"content-length: %d\r\n" % len(GOOD)
    with listening.connect() as connection:
        connection.sendall(head + b"\r\n" + GOOD + head + b"connection: close\r\n\r\n" + GOOD[:9])
        received = b""
        while not received.endswith(b"}"):  # the first answer is whole
            received += connection.recv(65536)
        connection.sendall(GOOD[9:])
        received += read_all(connection)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b'"data":[2.0,4.0]') == 2, received


def test_the_body_behind_an_offer_to_upgrade_is_never_a_request(listening: Listening) -> None:
    body = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    received = listening.send(
        INFER + OFFER + b"content-length: %d\r\n\r\n" % len(body), body, b"GET / HTTP/1.0\r\n\r\n"
    )
    assert received.count(b"HTTP/1.1 ") == 2, received
    assert b'"live"' not in received
    assert received.split()[1] == b"400"


def test_nobody_is_connected_through(listening: Listening) -> None:
    received = listening.send(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.split()[1] == b"405"


def test_chunks_over_the_limit_are_cut_off(listening: Listening) -> None:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    received = listening.send(INFER + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 100)
    assert received.split()[1] == b"413"


@pytest.mark.parametrize("filler", [b"x-%d: y\r\n", b"x-%d: " + b"y" * 5000 + b"\r\n"])
def test_a_flood_of_headers_is_refused(listening: Listening, filler: bytes) -> None:
    flood = [b"".join(filler % (i * 50 + j) for j in range(50)) for i in range(1000)]
    received = listening.send(b"GET /v2 HTTP/1.1\r\n", *flood)
    assert received == b"" or received.split()[1] == b"431"


def test_a_url_that_never_ends(listening: Listening) -> None:
    received = listening.send(b"GET /", *[b"x" * 10_000] * 100)
    assert received == b"" or received.split()[1] == b"431"


def test_heads_that_never_end_are_timed_out(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_connection, "HEAD_TIMEOUT_S", 0.2)
    assert listening.send().split()[1] == b"408"
    assert listening.send(b"GET /v2 HT").split()[1] == b"408"
    kept = b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"
    received = listening.send(kept + b"GET /v2/hea")
    assert (received.split()[1], received.rpartition(b"HTTP/1.1 ")[2][:3]) == (b"200", b"408")


def test_idle_connections_by_the_hundred_leave_room(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_connection, "MOST_CONNECTIONS", 300)
    with ExitStack() as held:
        idle = [held.enter_context(listening.connect()) for _ in range(400)]
        for connection in idle[-90:]:
            assert read_all(connection).startswith(b"HTTP/1.1 503"), "the rest is refused"
        for connection in idle[:150]:
            connection.close()
        wait_until(lambda: len(listening.server.server_state.connections) < 200, 10, "closed ones are forgotten")
        listening.assert_well()


def test_pipelined_requests_are_answered_in_order(listening: Listening) -> None:
    one = INFER + b"content-length: %d\r\n\r\n" % len(GOOD) + GOOD
    last = INFER + b"connection: close\r\ncontent-length: 2\r\n\r\n{}"
    received = listening.send(one * 5 + last)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 5 + [b"400"]


def test_a_client_that_goes_away_while_sending(listening: Listening) -> None:
    for _ in range(20):
        with listening.connect() as connection:
            connection.sendall(INFER + b"content-length: 5000\r\n\r\n{")


@pytest.mark.parametrize("size", [70_000, 99_000])
def test_a_large_body_is_no_large_head(listening: Listening, size: int) -> None:
    """In every way the bytes may be cut up on their way."""
    padded = GOOD + b" " * (size - len(GOOD))
    head = INFER + b"content-length: %d\r\n\r\n" % len(padded)
    last = b"GET /v2 HTTP/1.1\r\nconnection: close\r\n\r\n"
    for parts in ([head + padded + last], [head, padded, last], [head, padded[:-1], padded[-1:] + last[:9], last[9:]]):
        received = listening.send(*parts)
        assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200"]


def test_a_body_that_nobody_reads_does_not_hold_the_connection(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer_edge, "DRAIN_TIMEOUT_S", 0.5)
    received = listening.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
    assert received.split()[1] == b"404"


@pytest.mark.parametrize("path", ["/v2/models/nobody/infer", "/nowhere", "/v2/health/live"])
def test_a_refusal_before_the_body_leaves_the_connection_usable(listening: Listening, path: str) -> None:
    """The body comes after the answer could have been given; the next request on the connection is answered."""
    connection = HTTPConnection("127.0.0.1", listening.port, timeout=10)
    connection.connect()
    socket = connection.sock
    for target, statuses in ((path, {404, 405}), ("/v2/models/adder/infer", {200})):
        connection.putrequest("POST", target)
        connection.putheader("content-length", str(len(GOOD)))
        connection.endheaders()
        connection.send(GOOD)
        response = connection.getresponse()
        assert response.status in statuses, response.read()
        assert response.read()
        assert connection.sock is socket, "it was kept"
    connection.close()


def test_a_large_body_that_nobody_wants_ends_the_connection(listening: Listening) -> None:
    answered = listening.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answered.lower()
