"""A stand-in for TorchServe's management API: versions and their workers, with its rules about the default version."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from contracts.layout import TORCHSERVE_STORE
from gateway.engines.torchserve import TorchServe, TorchServeAddress

Worker = dict[str, str | int]
READY: Worker = {"status": "READY", "pid": 7}
STARTING: Worker = {"status": "UNLOADING", "pid": 0}  # as TorchServe calls what is not ready


@dataclass
class FakeTorchServe:
    """One model. `workers` by version; what is registered gets `new_workers`; `calls` are those that change any."""

    repository: Path
    workers: dict[str, list[Worker]] = field(default_factory=dict)
    new_workers: list[Worker] = field(default_factory=lambda: [READY])
    pending: int = 0
    default: str = ""
    url: str = ""
    calls: list[str] = field(default_factory=list)

    def engine(self) -> TorchServe:
        """A gateway process's own connection to it."""
        return TorchServe(TorchServeAddress(self.url, self.url, self.repository / "keys.json", self.repository))

    async def describe(self, request: web.Request) -> web.Response:
        """Every version, or 404 when there is none."""
        if not self.workers:
            return _error(404, "Model not found: adder")
        queue = {"pendingRequests": self.pending, "remainingCapacity": 100}
        versions = [
            {"modelVersion": version, "minWorkers": len(workers), "workers": workers, "jobQueueStatus": queue}
            for version, workers in self.workers.items()
        ]
        return web.json_response(versions)

    async def register(self, request: web.Request) -> web.Response:
        """409 for a version that there is."""
        version = request.query["url"].removeprefix("adder-").removesuffix(".mar")
        self.calls.append(f"register {version}")
        if version in self.workers:
            return _error(409, f"Model version {version} is already registered for model adder")
        self.default = self.default if self.workers else version
        self.workers[version] = list(self.new_workers)
        return web.json_response({"status": "Processing worker updates..."}, status=202)

    async def set_default(self, request: web.Request) -> web.Response:
        """Of a version that there is."""
        version = request.match_info["version"]
        if version not in self.workers:
            return _error(404, f"Model version {version} does not exist for model adder")
        self.default = version
        return web.json_response({})

    async def unregister(self, request: web.Request) -> web.Response:
        """403 for the default version, while there are others."""
        version = request.match_info["version"]
        self.calls.append(f"unregister {version}")
        if version == self.default and len(self.workers) > 1:
            return _error(403, "Cannot remove default version for model adder")
        self.workers.pop(version)
        return web.json_response({})


@asynccontextmanager
async def fake_torchserve(folder: Path) -> AsyncIterator[FakeTorchServe]:
    """Listen on a free port of loopback until the block is left."""
    (folder / TORCHSERVE_STORE).mkdir()
    keys = {kind: {"key": "secret"} for kind in ("management", "inference")}
    (folder / "keys.json").write_text(json.dumps(keys))
    fake = FakeTorchServe(folder)
    app = web.Application()
    app.router.add_get("/models/adder/all", fake.describe)
    app.router.add_post("/models", fake.register)
    app.router.add_put("/models/adder/{version}/set-default", fake.set_default)
    app.router.add_delete("/models/adder/{version}", fake.unregister)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    fake.url = f"http://127.0.0.1:{address[1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def _error(code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=code)
