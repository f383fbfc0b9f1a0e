"""The end of a run over several processes: workers send nothing more, wait for their answers, report; then all stop.

Locust's master waits half a second for last reports, and takes none of a worker that has said it stopped.
"""

from typing import Any

import gevent
from locust.runners import MasterRunner, WorkerRunner

from loadtest.scenarios.asking import clock
from loadtest.scenarios.load import PATIENCE_S, Load

_DRAIN = "twinserve_drain"
_DRAINED = "twinserve_drained"
_LOOK_EVERY_S = 0.02
_JOURNEY_S = 3.0


class WorkerDrain:
    """A worker's part."""

    def __init__(self, runner: WorkerRunner, load: Load) -> None:
        self._runner = runner
        self._load = load
        runner.register_message(_DRAIN, self._drain, concurrent=True)

    def _drain(self, **_: Any) -> None:
        self._load.stop.set()
        deadline = clock() + PATIENCE_S
        while self._load.under_way and clock() < deadline:
            gevent.sleep(_LOOK_EVERY_S)
        self._runner._send_stats()
        self._runner.send_message(_DRAINED)


class MasterDrain:
    """The master's part."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._drained = 0
        runner.register_message(_DRAINED, self._count)

    def run(self) -> None:
        """Returns when all workers have reported for the last time, or too much time has gone by."""
        self._drained, expected = 0, self._runner.worker_count
        self._runner.send_message(_DRAIN)
        deadline = clock() + PATIENCE_S + _JOURNEY_S
        while self._drained < expected and clock() < deadline:
            gevent.sleep(_LOOK_EVERY_S)

    def _count(self, **_: Any) -> None:
        self._drained += 1
