"""A model whose runs are gathered into batches: the same `run`, fewer and larger runs behind it.

One queue per set of input and output tensor names. Rules and wording: tensorflow_serving/batching/batching_session.cc.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workers.tf.embedded.batch_queues import BatchQueue, BatchThreads, QueueLimits
from workers.tf.embedded.batching import Batching
from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import Code, Fault, fault_of, invalid
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.savedmodel import Array, Model

_Names = tuple[tuple[str, ...], tuple[str, ...]]
_SHAPES_DIFFER = (
    "Tensors with name '{name}' from different tasks have different shapes and padding is turned off. "
    "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name "
    "have equal dimensions starting with the first dim."
)


@dataclass
class _Piece:
    """Rows of one request, as many as fit one batch; `outputs` or `fault` is there once `done` is set."""

    inputs: dict[str, Array]
    size: int
    deadline: Deadline
    queued_s: float
    outputs: dict[str, Array] = field(default_factory=dict)
    fault: Fault | None = None
    done: threading.Event = field(default_factory=threading.Event)


class BatchedModel:
    """Wraps a model. `threads` are shared by all that batch; they run this model's batches."""

    def __init__(self, model: Model, batching: Batching, threads: BatchThreads, metrics: Metrics) -> None:
        self._model = model
        self._batching = batching
        self._threads = threads
        self._metrics = metrics
        self._lock = threading.Lock()
        self._queues: dict[_Names, BatchQueue[_Piece]] = {}

    @property
    def signatures(self) -> Mapping[str, Any]:
        return self._model.signatures

    def run(self, feeds: Sequence[tuple[str, Array]], fetches: Sequence[str], deadline: Deadline) -> list[Array]:
        """As the model's own, and blocked until the batch is done.

        Raises Fault besides: INVALID_ARGUMENT for inputs without common rows or with too many, UNAVAILABLE when the
        queue is full, RESOURCE_EXHAUSTED when the deadline passed in the queue, FAILED_PRECONDITION when requests or
        outputs do not fit together.
        """
        size = _rows(feeds)
        for _ in feeds:
            self._metrics.input_batch_size.observe(size)
        if size > self._batching.max_batch_size:
            raise invalid(f"Task size {size} is larger than maximum input batch size {self._batching.max_batch_size}")
        queue = self._queue((tuple(sorted(name for name, _ in feeds)), tuple(sorted(set(fetches)))))
        pieces = self._split(dict(feeds), size, deadline)
        self._threads.put(queue, pieces)
        for piece in pieces:
            piece.done.wait()
        for piece in pieces:
            if piece.fault is not None:
                raise piece.fault
        return [
            pieces[0].outputs[name] if len(pieces) == 1 else np.concatenate([p.outputs[name] for p in pieces])
            for name in fetches
        ]

    def close(self) -> None:
        """Give the memory back. No run may be under way."""
        for queue in self._queues.values():
            self._threads.remove(queue)
        self._model.close()

    def _queue(self, names: _Names) -> BatchQueue[_Piece]:
        with self._lock:
            queue = self._queues.get(names)
            if queue is None:
                limits = QueueLimits(
                    self._batching.execution_size, self._batching.timeout_s, self._batching.max_enqueued_batches
                )
                queue = BatchQueue[_Piece](limits, lambda pieces: self._process(pieces, names[1]))
                self._queues[names] = queue
                self._threads.add(queue)
            return queue

    def _split(self, inputs: dict[str, Array], size: int, deadline: Deadline) -> list[_Piece]:
        step = self._batching.execution_size
        now_s = time.monotonic()
        starts = range(0, max(size, 1), step)
        return [
            _Piece(
                {name: array[start : start + step] for name, array in inputs.items()} if len(starts) > 1 else inputs,
                min(step, size - start),
                deadline,
                now_s,
            )
            for start in starts
        ]

    def _process(self, pieces: Sequence[_Piece], fetches: tuple[str, ...]) -> None:
        fault: Fault | None = None
        try:
            self._run(pieces, fetches)
        except Exception as error:  # noqa: BLE001 - the edge of a thread that others wait for: they must hear of it
            fault = fault_of(error)
        for piece in pieces:
            piece.fault = fault
            piece.done.set()

    def _run(self, pieces: Sequence[_Piece], fetches: tuple[str, ...]) -> None:
        now_s = time.monotonic()
        for piece in pieces:
            self._metrics.queuing_latency.observe((now_s - piece.queued_s) * 1e6, self._batching.thread_pool_name)
        deadline = max((piece.deadline for piece in pieces), key=lambda d: d.at_s)
        if deadline.at_s <= now_s:
            raise Fault(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        size = sum(piece.size for piece in pieces)
        padded = self._batching.padded_size(size)
        self._metrics.padding_size.observe(padded - size, str(padded))
        self._metrics.processed_batch_size.observe(padded)
        self._metrics.wrapped_run_count.add()
        merged = [(name, self._merge(name, [p.inputs[name] for p in pieces], padded)) for name in pieces[0].inputs]
        outputs = self._model.run(merged, fetches, deadline)
        for name, array in zip(fetches, outputs, strict=True):
            _check_output(array, padded)
            start = 0
            for piece in pieces:
                piece.outputs[name] = array[start : start + piece.size]
                start += piece.size

    def _merge(self, name: str, arrays: list[Array], padded: int) -> Array:
        if len({array.shape[1:] for array in arrays}) > 1:
            if not self._batching.pads_inputs or len({array.ndim for array in arrays}) > 1:
                raise Fault(Code.FAILED_PRECONDITION, _SHAPES_DIFFER.format(name=name))
            sizes = [max(array.shape[axis] for array in arrays) for axis in range(1, arrays[0].ndim)]
            arrays = [_widened(array, sizes) for array in arrays]
        missing = padded - sum(len(array) for array in arrays)
        if missing > 0 and len(arrays[-1]):
            arrays.append(np.repeat(arrays[-1][:1], missing, axis=0))
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _rows(feeds: Sequence[tuple[str, Array]]) -> int:
    if not feeds:
        raise invalid("Batching session Run() must have at least one input tensor")
    if any(array.ndim == 0 for _, array in feeds):
        raise invalid("Batching Run() input tensors must have at least one dimension.")
    sizes = {len(array) for _, array in feeds}
    if len(sizes) > 1:
        raise invalid(f"Batching Run() input tensors must have equal 0th-dimension size, got {sorted(sizes)}")
    return sizes.pop()


def _widened(array: Array, sizes: Sequence[int]) -> Array:
    """The array made as large as `sizes` say, but for its rows, with its own first element."""
    if array.shape[1:] == tuple(sizes):
        return array
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    wide = np.full((len(array), *sizes), array.ravel()[0], array.dtype)
    wide[tuple(slice(size) for size in array.shape)] = array
    return wide


def _check_output(array: Array, rows: int) -> None:
    if array.ndim == 0:
        raise Fault(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if len(array) != rows:
        raise Fault(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        )
