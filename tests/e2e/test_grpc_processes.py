"""Two gateway processes on one gRPC port: they share it, outlive one another, and leave no request uncounted."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.platform_process import Platform, running_platform, wait_until
from tests.served_platform import LEDGER
from workers.mnist import Split

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it kills a gateway process of this machine")]

# A connection of its own for every channel: gRPC would share one between channels to the same address.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
CLIENTS = 24


class Clients:
    """Clients with a connection each, who all ask TensorFlow Serving for the same digit."""

    def __init__(self, target: str, image: np.ndarray, running: ExitStack) -> None:
        channels = [grpc.insecure_channel(target, options=OWN_CONNECTION) for _ in range(CLIENTS)]
        self._stubs = [
            service_pb2_grpc.GRPCInferenceServiceStub(running.enter_context(channel)) for channel in channels
        ]
        self._threads = running.enter_context(ThreadPoolExecutor(CLIENTS))
        self._request = service_pb2.ModelInferRequest(model_name="mnist")
        self._request.inputs.add(name="images", datatype="FP32", shape=[1, 28, 28])
        self._request.raw_input_contents.append(image.tobytes())

    def ask(self) -> Iterator[int | grpc.StatusCode]:
        """Begin to ask, all at once; the digits, or what was said instead, as they come."""
        return self._threads.map(self._ask, self._stubs)

    def _ask(self, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> int | grpc.StatusCode:
        try:
            answer = stub.ModelInfer(self._request, timeout=30, metadata=(("x-engine", "tfserving"),))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return int(np.frombuffer(answer.raw_output_contents[0], np.float32).argmax())


def connections(platform: Platform, status: str = psutil.CONN_ESTABLISHED) -> dict[int, int]:
    """How many connections in this state each gateway process that lives has at the port, by its pid."""
    found = {}
    for process in psutil.Process(platform.pid("gateway")).children(recursive=True):
        try:
            mine = [one for one in process.net_connections("tcp") if one.laddr.port == platform.ports.grpc]
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = sum(one.status == status for one in mine)
        except psutil.NoSuchProcess:
            continue
    return found


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def ledger(platform: Platform) -> Counter[str]:
    text = platform.metrics()
    return Counter({kind: int(platform.metric(text, f"twinserve_ledger_{kind}_total")) for kind in LEDGER})


def open_requests(platform: Platform) -> int:
    counts = ledger(platform)
    return counts["accepted"] - counts["answered"] - counts["failed"]


def test_they_share_the_port_and_what_one_had_under_way_when_it_was_killed_is_counted(
    tmp_path: Path, repository: Path, mnist_test: Split
) -> None:
    with (
        running_platform(tmp_path, repository, {"TWINSERVE_GATEWAY_PROCESSES": "2"}) as platform,
        ExitStack() as running,
    ):

        def both_listen() -> bool:
            listening = connections(platform, psutil.CONN_LISTEN)
            return len(listening) == 2 and min(listening.values()) > 0

        wait_until(both_listen, 60, "both processes listen, not the first alone")
        clients = Clients(platform.grpc_address, mnist_test.images[0], running)
        digit = int(mnist_test.labels[0])
        assert set(clients.ask()) == {digit}
        spread = connections(platform)
        assert len(spread) == 2
        assert min(spread.values()) > 0, f"{CLIENTS} connections, all to one process: {spread}"

        victim = min(spread)
        with frozen(platform.pid("tfserving")):
            asking = clients.ask()
            # What one process tells of the other is as old as a probe.
            wait_until(lambda: open_requests(platform) == CLIENTS, 20, "all of them are under way")
            psutil.Process(victim).kill()
        said = Counter(asking)
        assert set(said) <= {digit, grpc.StatusCode.UNAVAILABLE}
        assert said[grpc.StatusCode.UNAVAILABLE] >= spread[victim]

        # Whoever was with the dead one connects anew, to the other or to the one that takes its place.
        wait_until(lambda: set(clients.ask()) == {digit}, 60, "every client is answered")
        wait_until(lambda: len(connections(platform).keys() - {victim}) == 2, 60, "there are two processes again")
        wait_until(lambda: open_requests(platform) == 0, 10, "every request is in the ledger as ended")
        counts = ledger(platform)
        assert counts["failed"] >= said[grpc.StatusCode.UNAVAILABLE]
        assert counts["answered"] >= CLIENTS
