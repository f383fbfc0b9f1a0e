"""Hostile requests without end, the same for the same seed: good ones of every kind, damaged in one to four ways."""

import asyncio
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from tests.traffic import HEADER_LENGTH, binary_body
from twinserve.digits import digit_image, golden_digits

TOKENS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b'""', b"[]", b"{}", b"-0", b"1e308", b"-1e38", b"1e-999"),
    *(
        b"1e999",
        b"9" * 400,
        b"-1",
        b"18446744073709551616",
        b"0.1e",
        b"\\u0000",
        b'"\\ud800"',
        b"\xff\xfe",
        b"[" * 5000,
    ),
    *(b'"FP64"', b'"BYTES"', b'"images"', b'"logits"', b'"shape"', b'"parameters"', b'{"timeout":1}', b"1000000000000"),
)
FORM = "multipart/form-data"
PATHS = ("/v2/models/mnist/infer", "/v2/models/mnist/versions/1/infer", "/v2/models/mnist/versions/99/infer")
PICTURE_PATHS = ("/models/mnist/classify", "/models/mnist/classify?invert=yes", "/models/mnist/classify?invert=%00")


@dataclass(frozen=True)
class HostileRequest:
    """One request; `number` and the seed make it again."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Outcome:
    """What came back: statuses, and every answer of the kinds that must not be."""

    statuses: Counter[int] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


def hostile_requests(seed: int, count: int) -> Iterator[HostileRequest]:
    """`count` requests, the same for the same seed."""
    chance = random.Random(seed)
    seeds = list(_good_requests())
    for number in range(count):
        path, headers, body = chance.choice(seeds)
        for _ in range(chance.randint(1, 4)):
            body = _damage(body, chance)
        yield HostileRequest(number, path, _damage_headers(headers, body, chance), body)


def _good_requests() -> Iterator[tuple[str, dict[str, str], bytes]]:
    images, _ = golden_digits(2)
    for path in PATHS:
        tensor = {"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": images[0].ravel().tolist()}
        yield path, {}, json.dumps({"id": "x", "inputs": [tensor], "outputs": [{"name": "logits"}]}).encode()
        yield path, {}, json.dumps({"inputs": [tensor | {"data": images[:1].round(2).tolist()}]}).encode()
        for rows in (1, 2):
            body, headers = binary_body(np.ascontiguousarray(images[:rows]))
            yield path, headers, body
    for path in PICTURE_PATHS:
        for kind in ("PNG", "JPEG", "BMP", "WEBP"):
            out = io.BytesIO()
            digit_image(7, side=64).save(out, kind)
            yield path, {}, out.getvalue()
            form = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n%s\r\n--b--\r\n'
            yield path, {"content-type": "multipart/form-data; boundary=b"}, form % out.getvalue()


def _damage(body: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(body) + 1)
    end = min(len(body), start + int(chance.expovariate(1 / 20)) + 1)
    match chance.randrange(7):
        case 0:
            return body[:start]
        case 1:
            return body[:start] + body[end:]
        case 2:
            return body[:end] + body[start:end] * chance.choice((1, 2, 50)) + body[end:]
        case 3:
            return body[:start] + chance.randbytes(end - start) + body[end:]
        case 4:
            return body[:start] + chance.choice(TOKENS) + body[end:]
        case 5:
            # Inside the JSON of a tensor's head, where most of the meaning is.
            start = min(start, chance.randrange(120))
            return body[:start] + chance.choice(TOKENS) + body[start + chance.randrange(8) :]
        case _:
            return body


def _damage_headers(headers: Mapping[str, str], body: bytes, chance: random.Random) -> dict[str, str]:
    damaged = dict(headers)
    match chance.randrange(10):
        case 0:
            damaged[HEADER_LENGTH] = chance.choice(("-1", "0", "abc", "9" * 30, str(len(body)), "1e2"))
        case 1:
            damaged["x-engine"] = chance.choice(("torchserve", "tfserving", "", "x" * 500, "tfserving,torchserve"))
        case 2:
            damaged["content-type"] = chance.choice(("", "text/plain", "multipart/form-data", f"{FORM}; boundary="))
        case 3:
            damaged["content-encoding"] = chance.choice(("gzip", "br", "identity"))
        case _:
            pass
    return damaged


async def send_all(url: str, seed: int, count: int, connections: int = 8) -> Outcome:
    """Send them over kept connections. A 5xx must be a 503 or 504 that names its cause."""
    outcome = Outcome()
    requests = hostile_requests(seed, count)

    async def send(session: aiohttp.ClientSession) -> None:
        for request in requests:
            status, text = await _send_one(session, url, request)
            outcome.statuses[status] += 1
            is_explained = '"error"' in text or status == 200
            if (status >= 500 and status not in (503, 504)) or not is_explained:
                outcome.unexplained.append(f"seed {seed} number {request.number}: {status} {text[:200]}")

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        await asyncio.gather(*(send(session) for _ in range(connections)))
    return outcome


async def _send_one(session: aiohttp.ClientSession, url: str, request: HostileRequest) -> tuple[int, str]:
    async with session.post(url + request.path, data=request.body, headers=request.headers) as response:
        return response.status, (await response.read()).decode(errors="replace")
