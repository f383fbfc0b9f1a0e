"""What scenarios need of a gateway's operator routes: promote, roll back, read what is live, read the ledgers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

T = TypeVar("T")


class OperatorError(Exception):
    """The gateway refused or failed, or could not be reached; the message says which."""


class Ledger(msgspec.Struct, frozen=True):
    """Requests of one version: accepted = answered + failed once none is under way."""

    accepted: int = 0
    answered: int = 0
    failed: int = 0

    def since(self, before: "Ledger") -> "Ledger":
        return Ledger(self.accepted - before.accepted, self.answered - before.answered, self.failed - before.failed)


class Rollout(msgspec.Struct, frozen=True):
    """The record of a promote or rollback, as far as it is used here; `phases` in seconds."""

    state: str
    version: int
    from_version: int | None = None
    reason: str | None = None
    phases: dict[str, float] = {}


class VersionView(msgspec.Struct, frozen=True):
    """One version as the gateway shows it."""

    version: int
    ledger: Ledger


class ModelView(msgspec.Struct, frozen=True):
    """One model as the gateway shows it. `kept` stay loaded beside the live one; `candidate` is None unless a change is
    under way."""

    live: int
    versions: tuple[VersionView, ...]
    kept: tuple[int, ...] = ()
    candidate: Any = None

    @property
    def ledgers(self) -> dict[int, Ledger]:
        return {seen.version: seen.ledger for seen in self.versions}


@dataclass(frozen=True)
class Gateway:
    """Where a gateway is, and the operators' token."""

    url: str
    token: str


def find_token(environment: Mapping[str, str], home: Path) -> str | None:
    """TWINSERVE_ADMIN_TOKEN, else the file that `twinserve up` wrote into its run directory; None without either."""
    if token := environment.get("TWINSERVE_ADMIN_TOKEN"):
        return token
    try:
        return Path(environment.get("TWINSERVE_ADMIN_TOKEN_FILE") or home / "admin-token").read_text().strip() or None
    except OSError:
        return None


class Operator:
    """Calls about one model; an async context manager that holds the connection."""

    def __init__(self, gateway: Gateway, model: str, timeout_s: float) -> None:
        self._gateway = gateway
        self._path = f"/admin/models/{model}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def __aenter__(self) -> "Operator":
        headers = {"Authorization": f"Bearer {self._gateway.token}"}
        # A connection a call: none stays with one of several gateway processes, and none is found closed by it.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def show(self) -> ModelView:
        """Which version is live, and all ledgers. Raises OperatorError."""
        return _convert(await self._call("GET", self._path), ModelView)

    async def promote(self, version: int, keep: int) -> Rollout:
        """Make `version` live, keeping `keep` others loaded; returns when that is done. Raises OperatorError."""
        return await self._change("promote", {"version": version, "keep": keep})

    async def roll_back(self, keep: int) -> Rollout:
        """Make the version before the live one live again, in the same way. Raises OperatorError."""
        return await self._change("rollback", {"keep": keep})

    async def _change(self, what: str, body: Mapping[str, Any]) -> Rollout:
        rollout = _convert(await self._call("POST", f"{self._path}/{what}?wait=true", body), Rollout)
        if rollout.state != "done":
            raise OperatorError(f"{what} ended {rollout.state}: {rollout.reason or 'no reason given'}")
        return rollout

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        try:
            async with self._session.request(method, self._gateway.url + path, json=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise OperatorError(
                f"{method} {self._gateway.url}{path}: {type(error).__name__} {error}".rstrip()
            ) from error
        if response.status != 200:
            raise OperatorError(f"{method} {path} answered {response.status}: {_reason(content)}")
        return content


def _convert(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise OperatorError(f"the gateway's answer is not what was expected: {error}") from error


def _reason(content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return content[:200].decode(errors="replace")
