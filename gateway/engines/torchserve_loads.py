"""What TorchServe's descriptions of a version mean over time: it loads, is ready, has failed, or nobody loads it.

Rules: pure; whoever asks tells the time, in seconds on one clock. Nothing here speaks with TorchServe.
"""

import msgspec

from gateway.core.ports import Observed, VersionState

# How long a version may take from registration to its first ready worker before it counts as failed.
LOAD_TIMEOUT_S = 120.0
# TorchServe starts a worker that dies again and again, after ever longer waits; this many deaths are no accident.
LOADS_TRIED = 2
# A registration makes its worker at once, and TorchServe keeps one in the list that died and will be started again. So
# a version without any for this long was left behind by an unloading that went wrong, and nobody will start one.
STRANDED_S = 10.0

Key = tuple[str, int]
"""(model, version)"""


class Worker(msgspec.Struct):
    """`pid` is 0 until it has a process."""

    status: str
    pid: int = 0


class Queue(msgspec.Struct):
    """Does not count the batch at work."""

    pendingRequests: int = 0  # noqa: N815  the name is TorchServe's


class Description(msgspec.Struct):
    """One entry of GET /models/{model}/all."""

    modelVersion: str  # noqa: N815  the name is TorchServe's
    workers: list[Worker] = []
    jobQueueStatus: Queue = msgspec.field(default_factory=Queue)  # noqa: N815


class Loads:
    """What is remembered of each version that TorchServe lists."""

    def __init__(self) -> None:
        self._since: dict[Key, float] = {}
        self._pids: dict[Key, set[int]] = {}
        self._bare_since: dict[Key, float] = {}
        self._begun: set[Key] = set()

    def begin(self, key: Key, now: float) -> None:
        """This process is about to register it. Should it get no worker, to register it again would not help."""
        self.forget(key)
        self._since[key] = now
        self._begun.add(key)

    def forget(self, key: Key) -> None:
        """It is unloaded; if it returns it begins anew."""
        for known in (self._since, self._pids, self._bare_since):
            known.pop(key, None)
        self._begun.discard(key)

    def keep_only(self, model: str, versions: frozenset[int]) -> None:
        """What TorchServe does not list was unloaded, perhaps by another process."""
        for key in {*self._since, *self._begun}:
            if key[0] == model and key[1] not in versions:
                self.forget(key)

    def judge(self, key: Key, description: Description, now: float) -> Observed:
        """The state of a version that is listed. One that is stranded is told as unloading: it is to be loaded anew."""
        since = self._since.setdefault(key, now)
        tried = self._pids.setdefault(key, set())
        tried.update(worker.pid for worker in description.workers if worker.pid > 0)
        if not description.workers:
            self._bare_since.setdefault(key, now)
        elif self._bare_since.pop(key, None) is not None:
            since = self._since[key] = now  # somebody registered it again
        if any(worker.status == "READY" for worker in description.workers):
            tried.clear()
            self._begun.discard(key)
            self._since[key] = now  # a worker that restarts later has all its time again
            return Observed(VersionState.READY)
        if len(tried) > LOADS_TRIED:
            return Observed(VersionState.ERROR, f"its worker died {len(tried) - 1} times while loading; see its log")
        if now - since > LOAD_TIMEOUT_S:
            return Observed(VersionState.ERROR, f"no worker became ready in {LOAD_TIMEOUT_S:g} s; see its log")
        if self.is_stranded(key, description, now):
            return Observed(VersionState.UNLOADING, "it has no worker, and nobody starts one")
        return Observed(VersionState.LOADING)

    def is_stranded(self, key: Key, description: Description, now: float) -> bool:
        """Whether it has been listed without a worker for too long, and was not registered by this process."""
        if description.workers or key in self._begun:
            return False
        return now - self._bare_since.get(key, now) > STRANDED_S
