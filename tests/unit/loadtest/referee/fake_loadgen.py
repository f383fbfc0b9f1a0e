"""LoadGen as far as the referee uses it: it asks from its own thread, waits for every answer, and writes its log."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.unit.loadtest.compare.fake_deployment import FakeDeployment, serving

WAIT_S = 20.0
RESULTS = {
    "result_query_count": 12,
    "result_mean_latency_ns": 2_000_000,
    "result_50.00_percentile_latency_ns": 1_500_000,
    "result_99.00_percentile_latency_ns": 4_000_000,
    "result_99.00_percentile_per_query_latency_ns": 9_000_000,
    "result_completed_samples_per_sec": 50.5,
    "early_stopping_result": " * Run successful.",
}


@dataclass(frozen=True)
class Sample:
    id: int
    index: int


class Response(NamedTuple):
    id: int
    data: int
    size: int


def log_line(key: str, value: Any, *, is_error: bool = False) -> str:
    return ":::MLLOG " + json.dumps({"key": key, "value": value, "metadata": {"is_error": is_error}})


@dataclass
class FakeLoadGen:
    """`queries` are asked one after the other, of Offline and Server all at once. It gives the
    verdict it is told to."""

    queries: int = 12
    verdict: str = "VALID"
    is_writing: bool = True
    settings: list[Any] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)
    issued: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    TestSettings = LogSettings = LogOutputSettings = SimpleNamespace
    TestScenario = SimpleNamespace(
        SingleStream="SingleStream", MultiStream="MultiStream", Server="Server", Offline="Offline"
    )
    TestMode = SimpleNamespace(PerformanceOnly="PerformanceOnly")
    QuerySampleResponse = Response

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def ConstructSUT(self, issue: Callable[[list[Sample]], None], flush: Callable[[], None]) -> Any:  # noqa: N802
        return issue

    def ConstructQSL(self, total: int, performance: int, load: Any, unload: Any) -> int:  # noqa: N802
        return total

    def DestroySUT(self, sut: Any) -> None:  # noqa: N802
        pass

    def DestroyQSL(self, library: Any) -> None:  # noqa: N802
        pass

    def QuerySamplesComplete(self, responses: Sequence[Response]) -> None:  # noqa: N802
        with self._changed:
            self.reported += [response.id for response in responses]
            self._changed.notify_all()

    def StartTestWithLogSettings(self, issue: Any, library: int, settings: Any, logs: Any) -> None:  # noqa: N802
        self.settings.append(settings)
        self.threads.add(threading.get_ident())
        size = getattr(settings, "multi_stream_samples_per_query", 1)
        is_waiting = settings.scenario in ("SingleStream", "MultiStream")
        for query in range(self.queries):
            samples = [Sample(1000 * len(self.settings) + query * size + n, (query + n) % library) for n in range(size)]
            self.issued += [sample.id for sample in samples]
            issue(samples)
            if is_waiting:
                self._wait()
        self._wait()
        if self.is_writing:
            told = {**RESULTS, "result_validity": self.verdict, "result_invalid_reason": "too short"}
            lines = [log_line(key, value) for key, value in told.items()]
            Path(logs.log_output.outdir, "mlperf_log_detail.txt").write_text("\n".join(lines))

    def _wait(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.reported) >= len(self.issued), WAIT_S), "never reported"


@contextmanager
def served_in_a_thread(deployment: FakeDeployment) -> Iterator[str]:
    """For a program that has an event loop of its own; gives the URL."""
    started, loop_of = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(deployment):
            loop_of.append((asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(WAIT_S)
    try:
        yield deployment.url
    finally:
        loop, stop = loop_of[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)
