"""How to batch: the parameters, from text format to frozen values (session_bundle_config.proto)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.tf.embedded.faults import invalid
from workers.tf.embedded.schemas import message_class, read_text_message

PER_MODEL_FILE = "batching_params.pbtxt"
_DEFAULT_THREAD_POOL = "model_server_batch_threads"


@dataclass(frozen=True)
class Batching:
    """Sizes count rows. A batch goes when it is full, or when its first request is `timeout_s` old."""

    max_batch_size: int = 1000
    timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    threads: int = 1
    thread_pool_name: str = _DEFAULT_THREAD_POOL
    allowed_batch_sizes: tuple[int, ...] = ()
    pads_inputs: bool = False
    max_execution_batch_size: int | None = None

    @property
    def execution_size(self) -> int:
        """The largest batch a model is given; larger requests are split when `max_execution_batch_size` allows it."""
        return self.max_batch_size if self.max_execution_batch_size is None else self.max_execution_batch_size

    def padded_size(self, size: int) -> int:
        """The smallest allowed size that holds `size` rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_batching(path: Path | None) -> Batching:
    """The parameters in a file, the defaults without one.

    Raises Fault(INVALID_ARGUMENT) when they do not parse or contradict each other, OSError when there is no file.
    """
    message: Any = message_class("BatchingParameters")()
    if path is not None:
        read_text_message(path, message)

    def value(name: str, default: Any) -> Any:
        return getattr(message, name).value if message.HasField(name) else default

    batch_size = value("max_batch_size", 1000)
    is_split = value("enable_large_batch_splitting", False)
    batching = Batching(
        max_batch_size=batch_size,
        timeout_s=value("batch_timeout_micros", 0) / 1e6,
        max_enqueued_batches=value("max_enqueued_batches", 10),
        threads=value("num_batch_threads", os.cpu_count() or 1),
        thread_pool_name=value("thread_pool_name", _DEFAULT_THREAD_POOL),
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pads_inputs=message.pad_variable_length_inputs,
        max_execution_batch_size=value("max_execution_batch_size", batch_size) if is_split else None,
    )
    _check(batching)
    return batching


def _check(batching: Batching) -> None:
    for name in ("max_batch_size", "max_enqueued_batches", "threads", "execution_size"):
        if getattr(batching, name) < 1:
            raise invalid(f"Batching parameters: {name} must be positive; was {getattr(batching, name)}")
    if batching.timeout_s < 0:
        raise invalid("Batching parameters: batch_timeout_micros must be non-negative")
    if batching.execution_size > batching.max_batch_size:
        raise invalid("Batching parameters: max_execution_batch_size must not exceed max_batch_size")
    sizes = batching.allowed_batch_sizes
    if list(sizes) != sorted(set(sizes)):
        raise invalid("allowed_batch_sizes entries must be monotonically increasing")
    if sizes and sizes[-1] != batching.execution_size:
        raise invalid(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {batching.execution_size}"
        )
