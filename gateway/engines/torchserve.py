"""TorchServe by REST: raw bytes to /predictions, the management API to hold versions.

A batch is one request and so is one call of the handler (TorchServe's own batch size is 1, its delay 0): its body is
a safetensors blob of the named inputs, the answer one of the outputs. Versions are always addressed explicitly, and
workers are started asynchronously, because a synchronous registration blocks threads that inference shares.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from contracts import blobs
from contracts.layout import TORCHSERVE_STORE, ModelPaths
from gateway.core.errors import DeadlineExceeded, EngineFailed, EngineRejected, EngineUnreachable, VersionLost
from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed, VersionState
from gateway.core.tensors import Tensor
from gateway.engines.http_connections import Answer, AnswerTooLong, HttpConnections, NoAnswer
from gateway.engines.torchserve_loads import LOAD_TIMEOUT_S, Description, Loads
from gateway.engines.torchserve_tokens import Tokens

log = logging.getLogger(__name__)

CONTROL_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
"""As much as TorchServe itself lets through (workers/torch/launcher.py)."""

# A version that TorchServe refused is offered again after this long: the cause may have been mended.
REFUSAL_LIFETIME_S = 60.0


@dataclass(frozen=True, slots=True)
class TorchServeAddress:
    """Where TorchServe listens, the file with its tokens or the folder they are in, and the repository as seen here."""

    inference_url: str
    management_url: str
    key_file: Path
    repository: Path


class TorchServe:
    """An endpoint of the engine `torchserve`. Made inside a running event loop, which its connections belong to."""

    name = "torchserve"
    implementation = "torchserve"

    def __init__(self, address: TorchServeAddress) -> None:
        self._address = address
        self._endpoint = f"{self.name}/{urlsplit(address.inference_url).netloc}"
        # A restarted container may have another address, so a name is looked up anew for connections a second later.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=1)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._connections = HttpConnections(address.inference_url, CONNECT_TIMEOUT_S, ANSWER_LIMIT_BYTES)
        self._tokens = Tokens(address.key_file)
        self._loads = Loads()
        self._refused: dict[tuple[str, int], tuple[float, str]] = {}
        self._longest_batch_s: dict[tuple[str, int], float] = {}
        self._last_batch_at: dict[tuple[str, int], float] = {}

    @property
    def address(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._address.management_url

    @property
    def endpoint(self) -> str:
        """See gateway.core.ports.Engine."""
        return self._endpoint

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """See gateway.core.ports.Engine."""
        pieces = blobs.encode_pieces(batch.inputs)
        key, clock = (batch.model, batch.version), asyncio.get_running_loop().time
        started = clock()
        try:
            status, answer = await self._tokens.ask("inference", lambda token: self._predict(token, batch, pieces))
        finally:
            self._last_batch_at[key] = clock()
            self._longest_batch_s[key] = max(self._longest_batch_s.get(key, 0.0), clock() - started)
        if status != 200:
            raise _translate(status, answer)
        try:
            return blobs.decode(answer)
        except blobs.BadBlob as error:
            raise EngineFailed(f"torchserve answered with something that is no tensors: {error}") from error

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """See gateway.core.ports.Engine."""
        observed: dict[tuple[str, int], Observed] = {}
        if not models:
            await self._manage("GET", "/models")
        now = asyncio.get_running_loop().time()
        for key, (since, reason) in self._refused.items():
            if now - since < REFUSAL_LIFETIME_S:
                observed[key] = Observed(VersionState.ERROR, reason)
        for model in models:
            there = await self._describe(model)
            self._loads.keep_only(model, frozenset(there))
            for version, description in there.items():
                observed[model, version] = self._loads.judge((model, version), description, now)
        return observed

    async def _describe(self, model: str) -> dict[int, Description]:
        """What TorchServe holds of a model, by version. Versions that are no integers are somebody else's."""
        status, answer = await self._manage("GET", f"/models/{model}/all")
        if status == 404:
            return {}
        if status != 200:
            raise EngineFailed(f"torchserve does not describe {model}: {_message(answer)}")
        try:
            descriptions = msgspec.json.decode(answer, type=list[Description])
        except msgspec.DecodeError as error:
            raise EngineFailed(f"torchserve describes {model} in a way we do not know: {error}") from error
        return {int(found.modelVersion): found for found in descriptions if found.modelVersion.isdecimal()}

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """See gateway.core.ports.Engine."""
        self._refused = {key: why for key, why in self._refused.items() if key[1] in desired.get(key[0], ())}
        for model, versions in desired.items():
            there = await self._describe(model)
            now = asyncio.get_running_loop().time()
            for version in sorted(versions & there.keys()):
                if self._loads.is_stranded((model, version), there[version], now):
                    log.warning("%s version %d has no worker, and nobody starts one: it is loaded anew", model, version)
                    await self._unregister(model, [version], max(there.keys() - {version}, default=version))
                    del there[version]
            for version in sorted(versions - there.keys()):
                await self._register(model, version)
            idle = [v for v in sorted(there.keys() - versions) if self._is_idle(model, v, there[v])]
            if idle:
                await self._unregister(model, idle, keep=max(versions or there))

    async def _register(self, model: str, version: int) -> None:
        """Begin to load a version. What TorchServe refuses is remembered as that version's state, not raised."""
        archive = self._link_archive(model, version)
        query = (
            f"url={archive}&model_name={model}&batch_size=1&max_batch_delay=0&initial_workers=1&synchronous=false"
            f"&response_timeout=120&startup_timeout={LOAD_TIMEOUT_S:.0f}"
        )
        now = asyncio.get_running_loop().time()
        self._loads.begin((model, version), now)
        status, answer = await self._manage("POST", f"/models?{query}")
        if status == 409:  # another gateway process registered it first, which is as good
            self._loads.forget((model, version))
        if status in (200, 202, 409):
            self._refused.pop((model, version), None)
        else:
            self._refused[model, version] = (now, f"torchserve refused it: {_message(answer)}")

    def _link_archive(self, model: str, version: int) -> str:
        """Give the archive a name of its own in the model store, where TorchServe takes plain file names only."""
        store = self._address.repository / TORCHSERVE_STORE
        archive = ModelPaths(self._address.repository, model).version(version).archive
        name = f"{model}-{version}.mar"
        try:
            store.mkdir(exist_ok=True)
            if not os.path.lexists(store / name):
                (store / name).symlink_to(os.path.relpath(archive, store))
        except FileExistsError:
            log.debug("another gateway process made the link %s", name)
        except OSError as error:
            raise EngineFailed(f"cannot link {archive} into the model store: {error}") from error
        return name

    def _is_idle(self, model: str, version: int, description: Description) -> bool:
        """Whether nothing of a version can be under way: TorchServe's queue does not count the batch at work.

        What waits for a version that has no worker will never be answered.
        """
        if not description.workers:
            return True
        key = (model, version)
        quiet_s = asyncio.get_running_loop().time() - self._last_batch_at.get(key, 0.0)
        return not description.jobQueueStatus.pendingRequests and quiet_s > self._longest_batch_s.get(key, 0.0)

    async def _unregister(self, model: str, versions: list[int], keep: int) -> None:
        """For versions that no request holds and that are idle: TorchServe drops what it is asked meanwhile."""
        await self._manage("PUT", f"/models/{model}/{keep}/set-default")  # the default version cannot be removed
        for version in versions:
            self._loads.forget((model, version))
            for known in (self._longest_batch_s, self._last_batch_at):
                known.pop((model, version), None)
            status, answer = await self._manage("DELETE", f"/models/{model}/{version}")
            if status not in (200, 404):
                raise EngineFailed(f"torchserve did not unload {model} version {version}: {_message(answer)}")

    async def close(self) -> None:
        """See gateway.core.ports.Engine."""
        self._connections.close()
        await self._session.close()

    async def _manage(self, method: str, path: str) -> Answer:
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                return await self._tokens.ask("management", lambda token: self._control(token, method, path))
        except TimeoutError as error:
            raise EngineUnreachable("torchserve's management API does not answer") from error

    async def _predict(self, token: str, batch: EngineBatch, pieces: Sequence[bytes | memoryview]) -> Answer:
        path = f"/predictions/{batch.model}/{batch.version}"
        headers = (("Authorization", f"Bearer {token}"), ("Content-Type", "application/octet-stream"))
        try:
            return await self._connections.post(path, headers, pieces, batch.deadline, batch.metadata)
        except TimeoutError as error:
            raise DeadlineExceeded("torchserve did not answer before the deadline") from error
        except NoAnswer as error:
            raise EngineUnreachable(f"torchserve cannot be reached: {error}") from error
        except AnswerTooLong as error:
            raise EngineFailed(f"torchserve's answer is too long: {error}") from error

    async def _control(self, token: str, method: str, path: str) -> Answer:
        url, headers = self._address.management_url + path, {"Authorization": f"Bearer {token}"}

        async def send() -> Answer:
            async with self._session.request(method, url, headers=headers) as response:
                return response.status, await response.read()

        try:
            try:
                return await send()
            except aiohttp.ServerDisconnectedError:
                # A kept connection may have been closed from the other side; nothing we send is harmed by being sent
                # twice. A server that is really gone refuses the second connection.
                return await send()
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineUnreachable(f"torchserve did not take a connection in {CONNECT_TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"torchserve cannot be reached: {error}") from error


def _translate(status: int, answer: bytes) -> Exception:
    """TorchServe's status codes, from its frontend's exception classes and our handler."""
    message = f"torchserve answered {status}: {_message(answer)}"
    if b"InvalidKeyException" in answer:  # it restarted, and has not written its new tokens yet
        return EngineUnreachable(message)
    if status == 400:
        return EngineRejected(message)
    # 404: it lost a version that routing believed ready; 503 without a worker; 500 'Worker died.'
    if status == 404 or (status in (500, 503) and (b"no worker" in answer or b"Worker died" in answer)):
        return VersionLost(message)
    return EngineFailed(message)


def _message(answer: bytes) -> str:
    try:
        document: Any = json.loads(answer)
        return str(document["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode("utf-8", "replace")
