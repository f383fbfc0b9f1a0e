"""Queues of batches that share threads: what waits is grouped by rows, what is ready is taken in turns.

Knows nothing of tensors or models: an item has a size, a queue has a way to process a list of items.
Facts: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from workers.tf.embedded.faults import Code, Fault

_FULL = (
    "The batch scheduling queue to which this task was submitted is full; "
    "currently {count} batches enqueued and max_enqueued_batches is {limit}"
)


class Sized(Protocol):
    """What can be queued."""

    @property
    def size(self) -> int: ...


I = TypeVar("I", bound=Sized)  # noqa: E741 - an item


@dataclass
class _Batch(Generic[I]):
    opened_s: float
    items: list[I] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class QueueLimits:
    """A batch holds `batch_size` rows and waits `timeout_s` for them; `batches` of them may wait."""

    batch_size: int
    timeout_s: float
    batches: int


class BatchQueue(Generic[I]):
    """One queue. Made by BatchThreads, whose lock guards it."""

    def __init__(self, limits: QueueLimits, process: Callable[[Sequence[I]], None]) -> None:
        self.limits = limits
        self.process = process
        self._batches: deque[_Batch[I]] = deque()

    def put(self, items: Sequence[I], now_s: float) -> None:
        """Raises Fault(UNAVAILABLE) when there is no room; then none of the items is queued."""
        room, fresh = self._room(), 0
        for item in items:
            if item.size > room:
                room, fresh = self.limits.batch_size, fresh + 1
            room -= item.size
        if len(self._batches) + fresh > self.limits.batches:
            raise Fault(Code.UNAVAILABLE, _FULL.format(count=len(self._batches), limit=self.limits.batches))
        for item in items:
            if item.size > self._room():
                self._batches.append(_Batch(now_s))
            self._batches[-1].items.append(item)
            self._batches[-1].size += item.size

    def ready_s(self) -> float | None:
        """When the oldest batch may go; None when nothing waits."""
        if not self._batches:
            return None
        batch = self._batches[0]
        is_closed = len(self._batches) > 1 or batch.size >= self.limits.batch_size
        return 0.0 if is_closed else batch.opened_s + self.limits.timeout_s

    def take(self) -> list[I]:
        """The items of the oldest batch."""
        return self._batches.popleft().items

    def _room(self) -> int:
        # Only the last batch is ever open: nothing overtakes. Without one not even an empty item has room.
        return self.limits.batch_size - self._batches[-1].size if self._batches else -1


class BatchThreads:
    """The threads that process batches; whoever owns threads runs `run` in as many of them as wanted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: deque[BatchQueue[Sized]] = deque()
        self._is_stopping = False

    def add(self, queue: "BatchQueue[I]") -> None:
        """Serve this queue, too."""
        with self._changed:
            self._queues.append(queue)  # type: ignore[arg-type]  # a queue is only ever given its own items

    def remove(self, queue: "BatchQueue[I]") -> None:
        """Serve it no more. It must be empty."""
        with self._changed:
            self._queues.remove(queue)  # type: ignore[arg-type]

    def put(self, queue: "BatchQueue[I]", items: Sequence[I]) -> None:
        """Enqueue all items or none. Raises Fault(UNAVAILABLE)."""
        with self._changed:
            queue.put(items, time.monotonic())
            self._changed.notify()

    def run(self) -> None:
        """Process batches until `stop`."""
        while (job := self._next()) is not None:
            job()

    def stop(self) -> None:
        """Let every `run` return; what waits stays unprocessed."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._is_stopping:
                now_s = time.monotonic()
                due: list[float] = []
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    ready_s = queue.ready_s()
                    if ready_s is not None and ready_s <= now_s:
                        return _job(queue, queue.take())
                    due += [] if ready_s is None else [ready_s]
                self._changed.wait(min(due) - now_s if due else None)
            return None


def _job(queue: BatchQueue[Sized], items: list[Sized]) -> Callable[[], None]:
    return lambda: queue.process(items)
