"""A gateway's HTTP client, synchronous and asynchronous: inference, pictures, and what operators do.

    with GatewayClient("http://127.0.0.1:8000") as gateway:
        logits = gateway.infer("mnist", {"images": images}).outputs["logits"]

Within `with` (or `async with`) connections are kept; outside of it each call has one of its own. Everything raises
CallError with a message for the person at the terminal, and nothing else but OSError for a picture that cannot be read,
and TypeError for tensors without names or a picture that is in no list.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from numpy.typing import ArrayLike

from twinserve.calls import (
    READY,
    TIMEOUT_S,
    Answer,
    Call,
    CallError,
    Unanswered,
    Wishes,
    base_of,
    classify_call,
    infer_call,
    may_fit,
    metadata_call,
    operator_call,
    read_answer,
    read_json,
    read_state,
    trusts_environment,
    unanswered,
)
from twinserve.fitting import fit

__all__ = ["Answer", "AsyncGatewayClient", "CallError", "GatewayClient", "Unanswered", "Wishes"]


class GatewayClient:
    """One gateway, by URL; `token` is the operators'."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = base_of(url)
        self._token = token
        self._kept: httpx2.Client | None = None

    def __enter__(self) -> Self:
        self._kept = httpx2.Client(timeout=TIMEOUT_S, trust_env=trusts_environment(self._url))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def infer(self, model: str, inputs: Mapping[str, ArrayLike], wishes: Wishes | None = None) -> Answer:
        """The model's answer to tensors by name: arrays, or nested lists of numbers or text. Raises CallError.

        Floats and integers of another size than the model's are sent again in the model's datatype (twinserve.fitting),
        which costs a second request: pass arrays of its own where speed counts.
        """
        wishes = wishes or Wishes()
        response = self._send(infer_call(model, inputs, wishes))
        if may_fit(response):
            fitted = fit(inputs, self.metadata(model, wishes.version))
            response = self._send(infer_call(model, fitted, wishes)) if fitted else response
        return read_answer(self._url, model, response)

    def is_ready(self) -> bool:
        """Whether every model's live version can be answered. Raises Unanswered."""
        return self._send(READY).is_success

    def metadata(self, model: str, version: int | None = None) -> dict[str, Any]:
        """The model's inputs, outputs and versions. Raises CallError."""
        return self._call(metadata_call(model, version))

    def classify(
        self, model: str, pictures: Sequence[Path | str], engine: str | None = None, invert: str = "auto"
    ) -> dict[str, Any]:
        """The gateway's answer for these picture files; `invert` is auto, yes or no. Raises CallError, OSError."""
        return self._call(classify_call(model, pictures, engine, invert))

    def state(self) -> dict[str, Any]:
        """Engines, models and versions, as operators see them. Raises CallError."""
        return read_state(self._url, self._send(operator_call(self._token, "GET", "")))

    def model_state(self, model: str) -> dict[str, Any]:
        """One model: versions, ledger, routing, the last rollout. Raises CallError."""
        return self._call(operator_call(self._token, "GET", f"/{model}"))

    def promote(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a promote (gateway.admin.PromoteOrder); returns the rollout so far. Raises CallError."""
        return self._call(operator_call(self._token, "POST", f"/{model}/promote", order))

    def roll_back(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a rollback; returns the rollout so far. Raises CallError."""
        return self._call(operator_call(self._token, "POST", f"/{model}/rollback", order))

    def set_routing(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Change the engines' shares and the mirror's; returns the model's state. Raises CallError."""
        return self._call(operator_call(self._token, "PUT", f"/{model}/routing", order))

    def _call(self, call: Call) -> dict[str, Any]:
        return read_json(self._url, self._send(call))

    def _send(self, call: Call) -> httpx2.Response:
        url = self._url + call.path
        try:
            if self._kept is not None:
                return self._kept.request(call.method, url, **call.options)
            options: dict[str, Any] = {"timeout": TIMEOUT_S, **call.options}
            return httpx2.request(call.method, url, trust_env=trusts_environment(self._url), **options)
        except httpx2.HTTPError as error:
            raise unanswered(self._url, error) from error


class AsyncGatewayClient:
    """The same for an event loop; to be used within `async with`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = base_of(url)
        self._token = token
        self._kept = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=trusts_environment(self._url))

    async def __aenter__(self) -> Self:
        await self._kept.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kept.aclose()

    async def infer(self, model: str, inputs: Mapping[str, ArrayLike], wishes: Wishes | None = None) -> Answer:
        """See GatewayClient."""
        wishes = wishes or Wishes()
        response = await self._send(infer_call(model, inputs, wishes))
        if may_fit(response):
            fitted = fit(inputs, await self.metadata(model, wishes.version))
            response = await self._send(infer_call(model, fitted, wishes)) if fitted else response
        return read_answer(self._url, model, response)

    async def is_ready(self) -> bool:
        """See GatewayClient."""
        return (await self._send(READY)).is_success

    async def metadata(self, model: str, version: int | None = None) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(metadata_call(model, version))

    async def classify(
        self, model: str, pictures: Sequence[Path | str], engine: str | None = None, invert: str = "auto"
    ) -> dict[str, Any]:
        """See GatewayClient. Reads the files in the event loop."""
        return await self._call(classify_call(model, pictures, engine, invert))

    async def state(self) -> dict[str, Any]:
        """See GatewayClient."""
        return read_state(self._url, await self._send(operator_call(self._token, "GET", "")))

    async def model_state(self, model: str) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(operator_call(self._token, "GET", f"/{model}"))

    async def promote(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(operator_call(self._token, "POST", f"/{model}/promote", order))

    async def roll_back(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(operator_call(self._token, "POST", f"/{model}/rollback", order))

    async def set_routing(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(operator_call(self._token, "PUT", f"/{model}/routing", order))

    async def _call(self, call: Call) -> dict[str, Any]:
        return read_json(self._url, await self._send(call))

    async def _send(self, call: Call) -> httpx2.Response:
        try:
            return await self._kept.request(call.method, self._url + call.path, **call.options)
        except httpx2.HTTPError as error:
            raise unanswered(self._url, error) from error
