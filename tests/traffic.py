"""Load from the test process: many requests at once over kept connections, every answer counted."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import numpy as np
import requests
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
OTHER = {"torchserve": "tfserving", "tfserving": "torchserve"}


def binary_body(images: NDArray[np.float32]) -> tuple[bytes, dict[str, str]]:
    """An OIP body of FP32 images [N,28,28] as raw bytes, and its headers; the answer is asked for as raw bytes too."""
    tensor = {
        "name": "images",
        "datatype": "FP32",
        "shape": list(images.shape),
        "parameters": {"binary_data_size": images.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return header + images.tobytes(), {HEADER_LENGTH: str(len(header))}


def infer_binary(url: str, images: NDArray[np.float32], engine: str) -> NDArray[np.float32]:
    """The logits that one engine gives for images [N,28,28], raw bytes both ways."""
    body, headers = binary_body(images)
    response = requests.post(url, data=body, headers={**headers, "X-Engine": engine}, timeout=60)
    assert response.status_code == 200, (response.status_code, response.text)
    assert response.headers["X-Engine"] == engine
    header_bytes = int(response.headers[HEADER_LENGTH])
    output = json.loads(response.content[:header_bytes])["outputs"][0]
    assert (output["name"], output["datatype"]) == ("logits", "FP32")
    return np.frombuffer(response.content[header_bytes:], np.float32).reshape(output["shape"])


@dataclass
class Tally:
    """What came back: statuses, and who answered. `problems` holds what was wrong with answers that were no 200."""

    statuses: Counter[int] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())


async def send_until(
    url: str,
    image: NDArray[np.float32],
    is_done: Callable[[Tally], bool],
    connections: int,
    tally: Tally | None = None,
) -> Tally:
    """Send one image again and again over `connections` connections until `is_done`; unforced, live version.

    `tally` is filled as answers come, for whoever looks on from another thread.
    """
    body, headers = binary_body(image)
    tally = Tally() if tally is None else tally

    async def send(session: aiohttp.ClientSession) -> None:
        while not is_done(tally):
            async with session.post(f"{url}/v2/models/mnist/infer", data=body, headers=headers) as response:
                content = await response.read()
                tally.statuses[response.status] += 1
                tally.engines[response.headers.get("X-Engine", "")] += 1
                if response.status != 200:
                    tally.problems.append(content[:200].decode(errors="replace"))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(send(session) for _ in range(connections)))
    return tally


def send_while(
    url: str, image: NDArray[np.float32], victim: str, act: Callable[[], object], after: int = 3000
) -> Tally:
    """Send as `send_until` does; `act` once both engines have answered, and end `after` more answers.

    `victim` is the engine that something happens to. `act` runs in a thread, so that the load goes on meanwhile.
    """
    acted_at: list[int] = []
    other = OTHER[victim]

    def is_done(tally: Tally) -> bool:
        if not acted_at and min(tally.engines[victim], tally.engines[other]) > 300:
            acted_at.append(tally.total)
            acting.start()
        return bool(acted_at) and not acting.is_alive() and tally.total > acted_at[0] + after

    problems: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread below
            problems.append(error)

    acting = threading.Thread(target=run)
    tally = asyncio.run(send_until(url, image, is_done, 16))
    for problem in problems:
        raise problem
    return tally


def insist(url: str, engine: str) -> int:
    """The status of a request that names its engine: 200, or a 503 that says when to come again."""
    body = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": [0] * 784}]}
    answer = requests.post(f"{url}/v2/models/mnist/infer", json=body, headers={"X-Engine": engine}, timeout=30)
    if answer.status_code != 200:
        said = (answer.status_code, answer.headers.get("Retry-After"), answer.headers.get("X-Engine"))
        assert said == (503, "1", engine), answer.text
    return answer.status_code
