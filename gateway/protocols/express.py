"""Inference past FastAPI's routing and injection, which cost more than all else that an answer takes.

Rules: whatever is answered here is also a route of FastAPI's, which documents it and would give the same answer; the
two share the dialect's codec and the exchange. Only plain paths are looked at: any other request, and any other way
to write a path, goes on to FastAPI.
"""

import re
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.protocols.exchange import Codec, Exchange


class InferenceRoutes:
    """The POST routes whose path names a model, perhaps a version, and nothing else."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._routes: list[tuple[re.Pattern[str], Codec]] = []

    def add(self, path: str, codec: Codec) -> None:
        """Answer `path`, in which {model} and {version} stand for themselves, as FastAPI writes it."""
        pattern, _, _ = compile_path(path)
        self._routes.append((pattern, codec))

    def find(self, path: str) -> tuple[Codec, str, str | None] | None:
        """The codec, model and version that a path asks for."""
        for pattern, codec in self._routes:
            if (found := pattern.match(path)) is not None:
                named = found.groupdict()
                return codec, named["model"], named.get("version")
        return None


class _Headers(Headers):
    """Starlette's, which otherwise walks through all headers each time it is asked for one."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(raw=scope["headers"])
        self._first = dict(reversed(scope["headers"]))

    def get(self, key: str, default: Any = None) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class _Request(Request):
    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._headers = _Headers(scope)


class Express:
    """Answers the inference routes; everything else is for the app behind it."""

    def __init__(self, app: ASGIApp, routes: InferenceRoutes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            found = self._routes.find(scope["path"])
            if found is not None:
                codec, model, version = found
                response = await self._routes.exchange.run(codec, _Request(scope, receive), model, version)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
