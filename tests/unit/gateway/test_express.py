"""Inference past ASGI: the same answers as FastAPI's own routes, in order, whatever way the bytes come."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.core.flight import Flight
from gateway.protocols.express import Express, Trip
from tests.platform_process import wait_until
from tests.unit.gateway.listening import Listening, listening_gateway, read_all
from tests.unit.gateway.served import PICTURES
from tests.unit.gateway.test_repository import MANIFEST

TENSOR = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
PLAIN = "/v2/models/adder/infer"


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("repository")
    pictures = folder / "pictures" / "1"
    pictures.mkdir(parents=True)
    (pictures / "manifest.json").write_text(json.dumps(MANIFEST | PICTURES | {"model": "pictures"}))
    (folder / "pictures" / "live.json").write_text('{"live": 1}')
    with listening_gateway(folder) as gateway:
        gateway.assert_well()
        yield gateway


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that went the short way."""
    bodies: list[bytes] = []
    begin = Express.begin

    def watched(express: Express, head: Any, body: bytes, tell: Any) -> Any:
        bodies.append(body)
        return begin(express, head, body, tell)

    monkeypatch.setattr(Express, "begin", watched)
    return bodies


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (PLAIN, {"json": {"inputs": [TENSOR], "id": "7"}}),
        (PLAIN, {"json": {"inputs": [TENSOR], "parameters": {"engine": "torchserve"}}}),
        (PLAIN, {"json": {"inputs": [TENSOR | {"shape": [2, 1]}]}}),
        (PLAIN, {"json": {"inputs": [TENSOR | {"data": [13, 1]}]}}),
        (PLAIN, {"json": {"inputs": [TENSOR | {"shape": [900, 2], "data": [1.5] * 1800}]}}),
        (PLAIN, {"json": {"inputs": [TENSOR]}, "headers": {"X-Request-Id": "mine"}}),
        (PLAIN, {"json": {"inputs": [TENSOR]}, "headers": {"X-Request-Id": "not a word"}}),
        (PLAIN, {"json": {"inputs": [TENSOR]}, "headers": {"X-Engine": "nobody"}}),
        (PLAIN, {"data": b"no JSON"}),
        (PLAIN, {"data": b""}),
        ("/v2/models/adder/versions/1/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/adder/versions/01/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/nobody/infer", {"json": {"inputs": [TENSOR]}}),
        ("/models/pictures/classify", {"data": b"no picture"}),
    ],
)
def test_both_ways_give_the_same_answer(
    listening: Listening, begun: list[bytes], path: str, options: dict[str, Any]
) -> None:
    headers = {"X-Engine": "torchserve", **options.pop("headers", {})}
    url = f"http://127.0.0.1:{listening.port}{path}"
    # The second finds its head among those that are known; a query is for FastAPI.
    ours = [requests.post(url, headers=headers, timeout=10, **options) for _ in range(2)]
    assert len(begun) == 2
    theirs = requests.post(url + "?plain=no", headers=headers, timeout=10, **options)
    assert len(begun) == 2
    timed = {"server-timing", "date"} | ({"x-request-id"} if headers.get("X-Request-Id") != "mine" else set())
    for answer in ours:
        assert (answer.status_code, answer.content) == (theirs.status_code, theirs.content)
        assert {k.lower(): v for k, v in answer.headers.items() if k.lower() not in timed} == {
            k.lower(): v for k, v in theirs.headers.items() if k.lower() not in timed
        }
        assert {k.lower() for k in answer.headers} == {k.lower() for k in theirs.headers}
    assert ours[0].headers["x-request-id"] != ours[1].headers["x-request-id"] or "x-request-id" not in timed


def request_bytes(*lines: bytes, body: bytes = BODY, target: bytes = PLAIN.encode()) -> bytes:
    head = [b"POST " + target + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def answers_in(received: bytes) -> list[tuple[int, list[float]]]:
    """Status and data of each answer."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = next(
            int(v) for k, _, v in (ln.partition(b": ") for ln in head.split(b"\r\n")) if k == b"content-length"
        )
        document = json.loads(rest[:length] or b"{}")
        data = document["outputs"][0]["data"] if "outputs" in document else []
        found.append((int(head.split()[1]), data))
        received = rest[length:]
    return found


def numbered(value: int, *lines: bytes) -> bytes:
    return request_bytes(*lines, body=json.dumps({"inputs": [TENSOR | {"data": [value, 0]}]}).encode())


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (b"/v2/models/adder/infer?x=1", ()),
        (b"/v2/models/add%65r/infer", ()),
        (PLAIN.encode(), (b"expect: 100-continue",)),
        (PLAIN.encode(), (b"connection: close",)),
        (PLAIN.encode(), (b"connection: keep-alive", b"connection: close")),
        (PLAIN.encode(), (b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABk")),
        (PLAIN.encode(), (b"content-encoding: gzip",)),
    ],
)
def test_what_is_not_plain_goes_the_long_way(
    listening: Listening, begun: list[bytes], target: bytes, lines: tuple[bytes, ...]
) -> None:
    received = listening.send(request_bytes(*lines, target=target), numbered(1, b"connection: close"))
    assert received.startswith(b"HTTP/1.1 ")
    assert begun == []


def test_nothing_is_learnt_from_a_request_after_empty_lines(listening: Listening, begun: list[bytes]) -> None:
    """The end of the empty lines looks like that of a head."""
    hidden = numbered(1)
    head = request_bytes(body=hidden * 9).split(hidden)[0]
    assert b" 400 " in listening.send(b"\r\n\r\n" + head + hidden * 9, numbered(1, b"connection: close"))
    asked = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert listening.send(b"\r\n\r\n" + asked).endswith(b'{"live":true}')
    assert begun == []


def test_pipelined_requests_are_answered_in_order(listening: Listening) -> None:
    wanted = [(200, [2.0 * n, 0.0]) for n in range(1, 12)]
    requests_sent = [numbered(n) for n in range(1, 11)] + [numbered(11, b"connection: close")]
    assert answers_in(listening.send(b"".join(requests_sent))) == wanted, "all in one piece"
    assert answers_in(listening.send(*requests_sent)) == wanted, "one after the other, without waiting"
    everything = b"".join(requests_sent)
    pieces = [everything[at : at + 97] for at in range(0, len(everything), 97)]
    assert answers_in(listening.send(*pieces)) == wanted, "cut anywhere"


def test_a_body_may_come_after_its_head(listening: Listening, begun: list[bytes]) -> None:
    request = numbered(3)
    cut = request.index(b"\r\n\r\n") + 4
    with listening.connect() as connection:
        for sent in (request, request):
            connection.sendall(sent[:cut])
            connection.sendall(sent[cut : cut + 5])
            connection.sendall(sent[cut + 5 :])
            assert answers_in(connection.recv(65536)) == [(200, [6.0, 0.0])]
    assert len(begun) == 2


def test_a_body_that_does_not_come_is_for_the_app_to_refuse(listening: Listening, begun: list[bytes]) -> None:
    request = numbered(3)
    with listening.connect() as connection:
        connection.sendall(request[:-5])
        received = read_all(connection)
    assert b" 408 " in received.split(b"\r\n")[0]
    assert b"within 1 s" in received
    assert begun == []


LEDGER = 'twinserve_ledger_{}_total{{model="adder",version="1"}}'


def test_a_client_that_goes_away_is_counted_and_not_waited_for(listening: Listening) -> None:
    def ledger() -> list[float]:
        return [listening.metric(LEDGER.format(which)) for which in ("accepted", "answered", "failed")]

    before = ledger()
    with listening.held_up():
        with listening.connect() as connection:
            connection.sendall(numbered(5))
            wait_until(listening.is_asked, 10, "it is being answered")
        wait_until(lambda: ledger() == [before[0] + 1, before[1], before[2] + 1], 10, "nobody waits for it")
    listening.assert_well()


def test_draining_answers_what_is_under_way(tmp_path: Path) -> None:
    with listening_gateway(tmp_path) as gateway:
        gateway.assert_well()
        with gateway.held_up(), gateway.connect() as connection:
            connection.sendall(numbered(4))
            wait_until(gateway.is_asked, 10, "it is being answered")
            gateway.server.should_exit = True
            wait_until(lambda: not gateway.server.servers[0].is_serving(), 10, "it drains")
            gateway.release()
            received = read_all(connection)
        assert answers_in(received) == [(200, [8.0, 0.0])]
        assert b"connection: close" in received


@pytest.mark.parametrize("body", [BODY, b"no JSON"])
def test_an_answered_request_is_gone_without_the_collector(listening: Listening, body: bytes) -> None:
    """It holds its body, and bodies may be large."""
    gc.collect()
    gc.disable()
    try:
        with listening.connect() as connection:
            for _ in range(20):
                connection.sendall(request_bytes(body=body))
                assert connection.recv(65536).startswith(b"HTTP/1.1 ")
        wait_until(lambda: not any(isinstance(held, Trip | Flight) for held in gc.get_objects()), 5, "all are gone")
    finally:
        gc.enable()
