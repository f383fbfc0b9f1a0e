"""Answers looked at while a load runs whose generator looks at none: a few a second, on a connection of their own."""

import http.client
import threading
from collections.abc import Callable
from types import TracebackType

from loadtest.bench.children import LOOPBACK
from loadtest.bench.dialects import HEADER_LENGTH, Floats
from loadtest.bench.endpoints import HttpEndpoint

_INTERVAL_S = 0.05
_TIMEOUT_S = 20.0

FindFault = Callable[[int, bytes, str | None], str]


class Sampler:
    """A context manager: asks `endpoint` for row after row of `images`, and judges each answer with `find_fault`.

    `find_fault` is given the number of the request, the body and the header Inference-Header-Content-Length.
    """

    def __init__(self, endpoint: HttpEndpoint, requests: list[Floats], find_fault: FindFault) -> None:
        self._endpoint = endpoint
        self._asked = [endpoint.dialect.encode(images) for images in requests]
        self._find_fault = find_fault
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.checked = 0
        self.faults: list[str] = []

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_TIMEOUT_S)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._endpoint.port, timeout=_TIMEOUT_S)
        number = 0
        while not self._stop.wait(_INTERVAL_S):
            number = (number + 1) % len(self._asked)
            self.checked += 1
            try:
                fault = self._ask(connection, number)
            except (OSError, http.client.HTTPException) as error:
                fault = f"{type(error).__name__}: {error}"
                connection.close()
            if fault:
                self.faults.append(fault)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> str:
        asked = self._asked[number]
        connection.request("POST", self._endpoint.path, asked.body, {**asked.headers, **self._endpoint.headers})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return f"status {answer.status}: {body[:200]!r}"
        return self._find_fault(number, body, answer.headers.get(HEADER_LENGTH))
