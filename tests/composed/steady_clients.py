"""Ordinary clients under a steady load, HTTP and gRPC: connections are kept, every answer is checked, nothing is asked
twice.

A connection that was closed while nothing was under way on it is opened anew before the next request, as every pool of
connections does it. A request that fails has failed.
"""

import http.client
import json
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc

from contracts.descriptors import Package, load_pool
from contracts.oip_bodies import HEADER_LENGTH
from loadtest.known_answers import Case, KnownAnswers

PATH = "/v2/models/mnist/infer"
RPC = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 60.0
MESSAGES: Any = Package(load_pool(), "inference")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, in times of the monotonic clock. `status` is HTTP's or gRPC's name, "" when its connection broke."""

    transport: str
    sent_at: float
    ended_at: float
    status: str
    engine: str = ""
    version: str = ""
    fault: str = ""

    @property
    def is_good(self) -> bool:
        return self.status in ("200", "OK") and not self.fault

    @property
    def is_broken(self) -> bool:
        """Whether no server said anything: the connection ended under it."""
        return self.status in ("", "UNAVAILABLE")


@dataclass(frozen=True)
class Load:
    """So many clients of each kind, each with a rest after every answer."""

    http: int = 4
    rpc: int = 2
    rest_s: float = 0.02


class SteadyClients:
    """Clients of one address. `asked` grows as requests end."""

    def __init__(self, url: str, grpc_address: str, known: KnownAnswers, load: Load) -> None:
        self._url = url
        self._grpc_address = grpc_address
        self._known = known
        self._load = load
        self._messages = tuple(rpc_message(case) for case in known.cases)
        self._stop = threading.Event()
        self._problems: list[BaseException] = []
        self.asked: list[Asked] = []

    @contextmanager
    def running(self) -> Iterator["SteadyClients"]:
        """They ask for as long as the block runs, each in a thread; every request has ended afterwards."""
        kinds = [self._ask_http] * self._load.http + [self._ask_rpc] * self._load.rpc
        threads = [threading.Thread(target=self._run, args=(kind, n)) for n, kind in enumerate(kinds)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(TIMEOUT_S + 10)
            assert self._problems == []

    @property
    def bad(self) -> list[Asked]:
        return [asked for asked in list(self.asked) if not asked.is_good]

    def said(self) -> str:
        """All of it in a line."""
        statuses = Counter(f"{asked.transport} {asked.status or 'broken'}" for asked in list(self.asked))
        return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))

    def _run(self, ask: Callable[[int], None], number: int) -> None:
        try:
            ask(number)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            self._problems.append(error)

    # -- HTTP

    def _ask_http(self, case: int) -> None:
        where = urlsplit(self._url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_S)
        while not self._stop.wait(self._load.rest_s):
            case = (case + 1) % len(self._known.cases)
            if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
                connection.close()  # the server closed it, and nothing was under way
            sent_at = time.monotonic()
            try:
                outcome = self._post(connection, case)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                outcome = ("", "", "", f"{type(error).__name__}: {error}")
            self.asked.append(Asked("http", sent_at, time.monotonic(), *outcome))
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, case: int) -> tuple[str, str, str, str]:
        sent = self._known.cases[case]
        connection.request("POST", PATH, sent.body, dict(sent.headers))
        response = connection.getresponse()
        content = response.read()
        engine, version = response.headers.get("X-Engine", ""), response.headers.get("X-Model-Version", "")
        if response.status != 200:
            return str(response.status), engine, version, content[:200].decode(errors="replace")
        fault = self._known.find_fault(case, version, content, response.headers[HEADER_LENGTH])
        return "200", engine, version, fault

    # -- gRPC

    def _ask_rpc(self, case: int) -> None:
        # A connection of its own: gRPC would share one between channels to the same address.
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(self._grpc_address, options) as channel:
            method: Any = channel.unary_unary(RPC)
            while not self._stop.wait(self._load.rest_s):
                case = (case + 1) % len(self._messages)
                sent_at = time.monotonic()
                try:
                    answer, call = method.with_call(self._messages[case], timeout=TIMEOUT_S)
                    outcome = self._check(case, answer, call)
                except grpc.RpcError as error:
                    failed: Any = error
                    outcome = (failed.code().name, "", "", str(failed.details())[:200])
                self.asked.append(Asked("grpc", sent_at, time.monotonic(), *outcome))

    def _check(self, case: int, answer: bytes, call: Any) -> tuple[str, str, str, str]:
        response = MESSAGES.ModelInferResponse.FromString(answer)
        told = dict([*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())])
        content, header_length = _as_http(response)
        fault = self._known.find_fault(case, response.model_version, content, header_length)
        return "OK", str(told.get("x-engine", "")), response.model_version, fault


def rpc_message(case: Case) -> bytes:
    """The ModelInferRequest that says what a case says over HTTP."""
    end = int(case.headers[HEADER_LENGTH])
    request = MESSAGES.ModelInferRequest(model_name="mnist")
    for described in json.loads(case.body[:end])["inputs"]:
        size = described["parameters"]["binary_data_size"]
        request.inputs.add(name=described["name"], datatype=described["datatype"], shape=described["shape"])
        request.raw_input_contents.append(case.body[end : end + size])
        end += size
    message: bytes = request.SerializeToString()
    return message


def _as_http(response: Any) -> tuple[bytes, str]:
    """The answer as HTTP would have brought it, for whoever checks that."""
    chunks: Sequence[bytes] = list(response.raw_output_contents)
    outputs = [
        {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
            "parameters": {"binary_data_size": len(chunk)},
        }
        for output, chunk in zip(response.outputs, chunks, strict=False)
    ]
    header = json.dumps({"outputs": outputs}).encode()
    return b"".join((header, *chunks)), str(len(header))
