"""What large bodies may cost others over TensorFlow Serving's REST, and clients that leave while they send one."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from contracts.tfserving_rest import answers, values
from gateway.protocols.large_bodies import MOST_WAITING
from tests.platform_process import wait_until
from tests.unit.gateway.listening import Listening
from tests.unit.gateway.rpc import Here, gateway_here

PREDICT = "/v1/models/adder:predict"
ROOM: dict[str, Any] = {"body_limit_bytes": 2**20}


class Watched:
    """Stands before a function: says in which threads it ran, and lets none of them through while it is held."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.gate = threading.Event()
        self.gate.set()
        self.threads: list[threading.Thread] = []

    def __call__(self, *arguments: Any) -> Any:
        self.threads.append(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(20)
        return self.function(*arguments)


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Iterator[Watched]:
    watched = Watched(getattr(module, name))
    monkeypatch.setattr(module, name, watched)
    yield watched
    watched.gate.set()


def body(rows: int) -> bytes:
    return json.dumps({"instances": [[1.5, 2.0]] * rows}).encode()


async def ask(here: Here, rows: int, padding: int = 0) -> Any:
    return await here.http.post(PREDICT, content=body(rows) + b" " * padding)


async def test_large_bodies_are_read_and_written_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        watching(monkeypatch, values, "parse_json") as parsed,
        watching(monkeypatch, answers, "encode_outputs") as written,
    ):
        async with gateway_here(tmp_path, **ROOM) as here:
            small, large = await ask(here, 1), await ask(here, 5000)
            assert small.json() == {"predictions": [[3.0, 4.0]]}
            assert large.json() == {"predictions": [[3.0, 4.0]] * 5000}
            for watched in (parsed, written):
                assert [thread is threading.main_thread() for thread in watched.threads] == [True, False]
            assert set(large.headers) == set(small.headers) | {"vary", "content-encoding"}
            stages = dict(stage.split(";dur=") for stage in large.headers["server-timing"].split(", "))
            assert 1.0 < float(stages["encode"]) < float(stages["total"]), "in ms"


async def test_too_many_large_bodies_are_refused_and_small_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching(monkeypatch, values, "parse_json") as parsed:
        async with gateway_here(tmp_path, **ROOM, default_timeout_s=20) as here:
            parsed.gate.clear()
            large = [asyncio.create_task(ask(here, 1, padding=10_000)) for _ in range(MOST_WAITING + 3)]
            refused, waiting = await asyncio.wait(large, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            while len(refused) < 2:
                done, waiting = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
                refused |= done
            for task in refused:
                response = task.result()
                assert (response.status_code, response.headers["retry-after"]) == (429, "1")
                assert list(response.json()) == ["error"]
            assert (await ask(here, 1)).status_code == 200
            parsed.gate.set()
            assert {task.result().status_code for task in (await asyncio.wait(waiting))[0]} == {200}
            assert len(refused) + len(waiting) == MOST_WAITING + 3


async def test_a_large_body_waits_no_longer_than_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(monkeypatch, values, "parse_json") as parsed:
        async with gateway_here(tmp_path, **ROOM, default_timeout_s=0.2) as here:
            parsed.gate.clear()
            for response in await asyncio.gather(*(ask(here, 1, padding=10_000) for _ in range(2))):
                assert (response.status_code, list(response.json())) == (504, ["error"])
                assert "could not be read within 0.2 s" in response.text
            assert await here.metric("twinserve_ledger_accepted_total") == 0
            parsed.gate.set()


async def test_a_large_broken_body_is_told_with_its_offset(tmp_path: Path) -> None:
    """It is read in a thread, since the exact grammar takes long."""
    async with gateway_here(tmp_path, **ROOM, default_timeout_s=20) as here:
        response = await here.http.post(PREDICT, content=b'{"inputs": [' + b"1," * 45_000 + b"x]}")
        assert response.status_code == 400
        assert "JSON Parse error: Invalid value. at offset: 90012" in response.text


async def test_what_cannot_be_written_is_refused_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it would be written after its request was answered, as far as the rest of the gateway knows."""
    async with gateway_here(tmp_path, **ROOM) as here:
        monkeypatch.delitem(answers._DIGITS, np.dtype(np.float32))
        response = await ask(here, 5000)
        assert (response.status_code, "Failed to write JSON value" in response.text) == (400, True)
        assert await here.metric("twinserve_requests_total") == 1


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_a_client_that_leaves_is_counted_as_such_and_is_no_fault_of_ours(
    listening: Listening, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    sample = 'outcome="cancelled",protocol="tfserving_rest"'

    def count() -> float:
        text = requests.get(f"http://127.0.0.1:{listening.port}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith("twinserve_requests_total{") and sample in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = count()
    with caplog.at_level(logging.WARNING), listening.connect() as connection:
        head = f"POST /v1/models/adder:{verb} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n{{"
        connection.sendall(head.encode())
        connection.close()
        wait_until(lambda: count() == before + 1, 10, "it is counted")
    assert "answered 500" not in caplog.text


def test_what_is_refused_for_its_signature_is_counted(listening: Listening) -> None:
    def count() -> float:
        text = requests.get(f"http://127.0.0.1:{listening.port}/metrics", timeout=10).text
        labels = 'engine="",model="adder",outcome="invalid",protocol="tfserving_rest",version="1"'
        lines = [line for line in text.splitlines() if line.startswith(f"twinserve_requests_total{{{labels}}}")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = count()
    url = f"http://127.0.0.1:{listening.port}/v1/models/adder:classify"
    response = requests.post(url, json={"examples": [{"a": 1}]}, timeout=10)
    assert (response.status_code, count()) == (400, before + 1)
    assert response.json()["error"].startswith("No classification inputs found in SignatureDef")
