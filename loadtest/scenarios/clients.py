"""Connections to a gateway from greenlets: HTTP and gRPC, one message at a time, many of them at once.

Only for processes that Locust has patched; nothing here measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPParseError
from grpc.experimental import gevent as grpc_gevent

from loadtest.scenarios.dialects import Message

_GRPC_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


class Lost(Exception):
    """No whole answer came; the message says what happened."""


class Refused(Exception):
    """The gateway answered with an error; the message has its status and its words."""


@dataclass(frozen=True)
class Raw:
    """A successful answer; header names are in lower case."""

    body: bytes
    headers: Mapping[str, str]


class Client(Protocol):
    """Sends messages. Raises Lost, Refused."""

    def send(self, message: Message) -> Raw: ...

    def close(self) -> None: ...


class Http:
    """Kept connections, at most `connections` at once."""

    def __init__(self, url: str, connections: int, timeout_s: float, engine: str | None) -> None:
        self._client = HTTPClient.from_url(
            url, concurrency=connections, connection_timeout=timeout_s, network_timeout=timeout_s
        )
        self._headers = {} if engine is None else {"X-Engine": engine}

    def send(self, message: Message) -> Raw:
        """See Client."""
        try:
            response = self._client.post(message.path, body=message.body, headers={**message.headers, **self._headers})
            body = bytes(response.read())
        except (OSError, HTTPParseError, RuntimeError) as error:
            raise Lost(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        if response.status_code != 200:
            raise Refused(f"{response.status_code} {body[:200].decode(errors='replace')}")
        return Raw(body, {name.lower(): str(value) for name, value in response.items()})

    def close(self) -> None:
        self._client.close()


class Grpc:
    """One channel, as one client has it."""

    def __init__(self, address: str, timeout_s: float, engine: str | None) -> None:
        self._channel = grpc.insecure_channel(address, options=_GRPC_OPTIONS)
        self._timeout_s = timeout_s
        self._metadata = () if engine is None else (("x-engine", engine),)
        self._methods: dict[str, Any] = {}

    def send(self, message: Message) -> Raw:
        """See Client."""
        if message.path not in self._methods:
            self._methods[message.path] = self._channel.unary_unary(message.path)
        try:
            body, call = self._methods[message.path].with_call(
                message.body, timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED) or _is_cut(code, details):
                raise Lost(f"{code.name} {details}") from error
            raise Refused(f"{code.name} {details}") from error
        told = (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ()))
        return Raw(body, {key: value if isinstance(value, str) else "" for key, value in told})

    def close(self) -> None:
        self._channel.close()


def _is_cut(code: grpc.StatusCode, details: str | None) -> bool:
    """UNAVAILABLE is the gateway's word for no engine, and grpc's own for no connection."""
    return code is grpc.StatusCode.UNAVAILABLE and any(word in (details or "") for word in ("connect", "Socket closed"))


def prepare_grpc() -> None:
    """Let gRPC's calls give way to other greenlets; once in each process that calls, after any fork."""
    grpc_gevent.init_gevent()
