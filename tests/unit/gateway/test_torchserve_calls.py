"""What TorchServe answers to an inference, well or badly, as the core is told of it."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from contracts import blobs
from gateway.core.errors import (
    DeadlineExceeded,
    EngineError,
    EngineFailed,
    EngineRejected,
    EngineUnreachable,
    ServingError,
    VersionLost,
)
from gateway.core.messages import EngineBatch
from gateway.core.tensors import Tensor
from gateway.engines import torchserve
from gateway.engines.torchserve import TorchServe, TorchServeAddress
from tests.unit.gateway.scripted_server import CLOSE, NEVER, Server, listening

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)
UNKNOWN_TOKEN = (400, b'{"type": "InvalidKeyException", "message": "Token Authorization failed."}')


def reply(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def write_token(folder: Path, token: str) -> Path:
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"inference": {"key": token}}))
    return keys


async def infer(engine: TorchServe, timeout_s: float = 10.0) -> dict[str, Tensor]:
    deadline = asyncio.get_running_loop().time() + timeout_s
    return dict(await engine.infer(EngineBatch("adder", 7, {"a": ROWS}, deadline)))


def engine_at(url: str, folder: Path) -> TorchServe:
    return TorchServe(TorchServeAddress(url, url, write_token(folder, "first"), folder))


async def test_a_batch_goes_and_comes_as_a_blob(tmp_path: Path) -> None:
    async with listening(Server([reply(200, blobs.encode({"sum": ROWS * 2}))])) as server:
        engine = engine_at(server.url, tmp_path)
        np.testing.assert_array_equal((await infer(engine))["sum"], ROWS * 2)
        [(_, head, body)] = server.requests
        assert head.startswith(b"POST /predictions/adder/7 HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer first\r\nContent-Type: application/octet-stream\r\n" in head
        np.testing.assert_array_equal(blobs.decode(body)["a"], ROWS)
        await engine.close()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (reply(200, b"no tensors"), EngineFailed, "something that is no tensors"),
        (reply(400, b'{"message": "expected more"}'), EngineRejected, "torchserve answered 400: expected more"),
        (reply(404, b"gone"), VersionLost, "404"),
        (reply(500, b"Worker died."), VersionLost, "500"),
        (reply(503, b'{"message": "Prediction failed"}'), EngineFailed, "Prediction failed"),
        (reply(*UNKNOWN_TOKEN), EngineUnreachable, "Token Authorization failed"),
        (reply(200, b"x" * 70_000), EngineFailed, "torchserve's answer is too long"),
        (CLOSE, EngineUnreachable, "torchserve cannot be reached"),
        (NEVER, DeadlineExceeded, "before the deadline"),
    ],
)
async def test_every_other_answer_is_an_error_of_the_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, error: type[EngineError], message: str
) -> None:
    monkeypatch.setattr(torchserve, "ANSWER_LIMIT_BYTES", 1000)
    async with listening(Server([answer])) as server:
        engine = engine_at(server.url, tmp_path)
        with pytest.raises(ServingError, match=message) as raised:
            await infer(engine, timeout_s=0.1 if answer == NEVER else 10.0)
        assert type(raised.value) is error
        await engine.close()


async def test_new_tokens_are_read_when_the_old_ones_are_refused(tmp_path: Path) -> None:
    good = reply(200, blobs.encode({"sum": ROWS}))
    async with listening(Server([good, reply(*UNKNOWN_TOKEN), good, good])) as server:
        engine = engine_at(server.url, tmp_path)
        await infer(engine)
        write_token(tmp_path, "second")
        for _ in range(2):
            assert set(await infer(engine)) == {"sum"}
        tokens = [head.partition(b"Bearer ")[2].split()[0] for _, head, _ in server.requests]
        assert tokens == [b"first", b"first", b"second", b"second"]
        await engine.close()
