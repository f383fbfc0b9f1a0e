"""Watches the base paths of the configured models and tells the manager which versions to aspire to."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workers.tf.embedded.directories import scan_versions
from workers.tf.embedded.model_config import ModelConfig

_LOG = logging.getLogger(__name__)


class FileSystemSource:
    """Polls every `poll_wait_s` seconds; 0: once after each configuration; negative: never."""

    def __init__(self, aspire: Callable[[str, Mapping[int, Path]], None], poll_wait_s: float) -> None:
        self._aspire = aspire
        self._poll_wait_s = poll_wait_s
        self._lock = threading.Lock()
        self._models: tuple[ModelConfig, ...] = ()
        self._complaints: list[str] = []
        self._stopping = threading.Event()

    def configure(self, models: Sequence[ModelConfig]) -> None:
        """Watch these models, and no others, from now on; versions of models left out are unloaded."""
        with self._lock:
            kept = {model.name for model in models}
            dropped = [model.name for model in self._models if model.name not in kept]
            self._models = tuple(models)
        for name in dropped:
            self._aspire(name, {})
        if self._poll_wait_s >= 0:
            self.poll()

    def run(self) -> None:
        """Poll until `stop`."""
        if self._poll_wait_s <= 0:
            self._stopping.wait()
            return
        while not self._stopping.wait(self._poll_wait_s):
            self.poll()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    def poll(self) -> None:
        """Look once. A base path that cannot be listed abandons the whole look: what is loaded stays."""
        with self._lock:
            try:
                found = [(model, scan_versions(Path(model.base_path))) for model in self._models]
            except OSError as error:
                self._complain([f"cannot list a base path, all models stay as they are: {error}"])
                return
            empty: list[str] = []
            for model, versions in found:
                chosen = model.policy.select(versions)
                if not chosen:
                    empty.append(f"{model.base_path} holds no version that the policy of {model.name} asks for")
                self._aspire(model.name, {version: versions[version] for version in chosen})
            self._complain(empty)

    def _complain(self, complaints: list[str]) -> None:
        # A look every second would fill the log with the same lines.
        for complaint in complaints:
            if complaint not in self._complaints:
                _LOG.warning("%s", complaint)
        self._complaints = complaints
