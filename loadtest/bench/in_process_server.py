"""`python -m loadtest.bench.in_process_server --port N --archive FILE`: the rival, FastAPI and torch in one process.

POST /infer with FP32 images as raw bytes, logits come back the same way. Batched as the gateway does it: dispatched at
once while no forward pass runs, else everything that waits goes when it ends, up to a limit; no timer. It checks
nothing but the size, and knows one model and one version. It ends when its standard input does.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from loadtest.bench.archived_network import load_network

IMAGE_BYTES = 28 * 28 * 4
ROWS_LIMIT = 64
SWITCH_INTERVAL_S = 0.0002

Waiting = tuple[bytes, "asyncio.Future[bytes]"]


class Batcher:
    """One forward pass at a time, in a thread of its own so that the loop goes on reading."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._waiting: list[Waiting] = []
        self._is_running = False
        self._thread = ThreadPoolExecutor(1)

    async def infer(self, images: bytes) -> bytes:
        """FP32 [N,28,28] to FP32 [N,10], as raw bytes."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((images, answer))
        if not self._is_running:
            self._is_running = True
            asyncio.get_running_loop().call_soon(self._dispatch)
        return await answer

    def _dispatch(self) -> None:
        rows = taken = 0
        while taken < len(self._waiting) and (not taken or rows < ROWS_LIMIT):
            rows += len(self._waiting[taken][0]) // IMAGE_BYTES
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._forward, [part for part, _ in batch])
        future.add_done_callback(lambda done: self._end(batch, done))

    def _forward(self, parts: list[bytes]) -> bytes:
        with torch.inference_mode():
            images = torch.frombuffer(bytearray().join(parts), dtype=torch.float32).view(-1, 28, 28)
            logits: bytes = self._network(images).numpy().tobytes()
            return logits

    def _end(self, batch: list[Waiting], done: "asyncio.Future[bytes]") -> None:
        at = 0
        for part, answer in batch:
            end = at + len(part) // IMAGE_BYTES * 40
            if not answer.done():
                if (error := done.exception()) is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(done.result()[at:end])
            at = end
        if self._waiting:
            self._dispatch()
        else:
            self._is_running = False


def make_app(network: Any) -> FastAPI:
    app = FastAPI()
    batcher = Batcher(network)

    async def infer(request: Request) -> Response:
        body = await request.body()
        if not body or len(body) % IMAGE_BYTES:
            return Response(b"expected whole images", 400)
        return Response(await batcher.infer(body), media_type="application/octet-stream")

    # A plain route: FastAPI's injection would double what the route costs, and this rival is meant to be fast.
    app.add_route("/infer", infer, methods=["POST"])
    return app


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.in_process_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--archive", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    app = make_app(load_network(given.archive))
    # Two threads share one lock: a forward pass otherwise waits for it up to 5 ms, a quarter fewer requests a second.
    # And collecting garbage among all of torch's objects would stop everything for 100 ms.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    uvicorn.run(app, host="127.0.0.1", port=given.port, loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
