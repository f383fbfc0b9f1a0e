"""From a version directory to a model that may serve: loaded, wrapped for batching, warmed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.tf.embedded.batch_queues import BatchThreads
from workers.tf.embedded.batched_model import BatchedModel
from workers.tf.embedded.batching import PER_MODEL_FILE, Batching, read_batching
from workers.tf.embedded.faults import invalid
from workers.tf.embedded.flag_table import Options
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.savedmodel import LoadOptions, Model, load_saved_model

Warm = Callable[[Model, Path], None]


@dataclass(frozen=True)
class BatchingChoice:
    """`batching` for every model, None for no batching at all; `is_per_model`: each version's own file decides."""

    batching: Batching | None = None
    is_per_model: bool = False

    def of(self, path: Path) -> Batching | None:
        """The parameters of the version under `path`. Raises Fault, OSError."""
        if self.batching is None or not self.is_per_model:
            return self.batching
        own = path / PER_MODEL_FILE
        return read_batching(own) if own.is_file() else None


def choose_batching(options: Options) -> BatchingChoice:
    """What the flags say. Raises Fault(INVALID_ARGUMENT) when they contradict each other, OSError for no file."""
    file = options.batching_parameters_file
    if not options.enable_batching:
        if file:
            raise invalid(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return BatchingChoice()
    return BatchingChoice(read_batching(Path(file) if file else None), options.enable_per_model_batching_parameters)


@dataclass(frozen=True)
class Loader:
    """Called by the manager for each version. `warm` is None when versions are not warmed."""

    options: LoadOptions
    choice: BatchingChoice
    threads: BatchThreads
    metrics: Metrics
    warm: Warm | None

    def __call__(self, model: str, version: int, path: Path) -> Model:  # noqa: ARG002 - a path says it all
        """Raises Fault, or whatever the model's own code raises."""
        batching = self.choice.of(path)
        loaded = self._load(path)
        if batching is not None:
            loaded = BatchedModel(loaded, batching, self.threads, self.metrics)
        if self.warm is not None:
            try:
                self.warm(loaded, path)
            except BaseException:
                loaded.close()
                raise
        return loaded

    def _load(self, path: Path) -> Model:
        started_s = time.monotonic()
        status = "fail"
        try:
            loaded = load_saved_model(path, self.options)
            status = "success"
            self.metrics.load_latency.add(str(path), count=int((time.monotonic() - started_s) * 1e6))
        finally:
            self.metrics.load_attempts.add(str(path), status)
        return loaded
