"""Puts a model list into effect: at start from the flags, later from HandleReloadConfigRequest or a changed file.

The checks come in the original's order, and nothing changes before the last of them has passed.
"""

import threading
from collections.abc import Callable
from typing import Generic

from workers.tf.embedded.faults import Code, Fault
from workers.tf.embedded.lookup import Lookup
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.model_config import (
    ModelConfig,
    check_models,
    check_platform_changes,
    check_platforms,
)
from workers.tf.embedded.source import FileSystemSource
from workers.tf.embedded.states import State
from workers.tf.embedded.versions import S

_LOOK_AGAIN_S = 0.2


class Configuration(Generic[S]):
    """The model list in effect. `allows_early_labels`: a label may stand for a version that is not available yet."""

    def __init__(
        self, manager: Manager[S], source: FileSystemSource, lookup: Lookup[S], allows_early_labels: bool = False
    ) -> None:
        self._manager = manager
        self._source = source
        self._lookup = lookup
        self._allows_early_labels = allows_early_labels
        self._one_at_a_time = threading.Lock()
        self._current: tuple[ModelConfig, ...] | None = None

    def apply(self, models: tuple[ModelConfig, ...], is_abandoned: Callable[[], bool]) -> None:
        """Replace the whole list and block until every newly named model is available or has failed for good.

        Waits neither for new versions of models that stay nor for unloads. Raises Fault: INVALID_ARGUMENT or
        FAILED_PRECONDITION when a check fails, UNKNOWN when a new model did not load, CANCELLED once `is_abandoned`.
        """
        while not self._one_at_a_time.acquire(timeout=_LOOK_AGAIN_S):
            _refuse_if(is_abandoned)
        try:
            is_first = self._current is None
            new = self._replace(models)
            self._await(new, is_abandoned, "servable" if is_first else "model")
        finally:
            self._one_at_a_time.release()

    def _replace(self, models: tuple[ModelConfig, ...]) -> list[str]:
        current = self._current or ()
        check_models(models)
        check_platform_changes(current, models)
        self._check_labels(models)
        check_platforms(models)
        self._current = models
        self._lookup.relabel({model.name: model.labels for model in models})
        self._source.configure(models)
        known = {model.name for model in current}
        return [model.name for model in models if model.name not in known]

    def _check_labels(self, models: tuple[ModelConfig, ...]) -> None:
        for model in models:
            available = {s.version for s in self._manager.statuses(model.name) if s.state is State.AVAILABLE}
            current = self._lookup.labels(model.name)
            for label, version in model.labels.items():
                # One that points elsewhere is refused in any case: its requests would find nothing.
                is_early = self._allows_early_labels and current.get(label, version) == version
                if version not in available and not is_early:
                    raise Fault(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference",
                    )

    def _await(self, names: list[str], is_abandoned: Callable[[], bool], noun: str) -> None:
        while not self._manager.wait_until(lambda: all(map(self._is_settled, names)), _LOOK_AGAIN_S):
            _refuse_if(is_abandoned)
        failures = [failure for name in names for failure in self._failures(name)]
        if failures:
            listed = "".join(f"{{{failure}}}, " for failure in failures)
            raise Fault(Code.UNKNOWN, f"{len(failures)} {noun}(s) did not become available: {{{listed}}}")

    def _is_settled(self, name: str) -> bool:
        states = [status.state for status in self._manager.statuses(name)]
        return State.AVAILABLE in states or (bool(states) and all(state is State.END for state in states))

    def _failures(self, name: str) -> list[str]:
        statuses = self._manager.statuses(name)
        if any(status.state is State.AVAILABLE for status in statuses):
            return []
        return [f"{{name: {name} version: {s.version}}} due to error: {s.error}" for s in statuses if s.error]


def _refuse_if(is_abandoned: Callable[[], bool]) -> None:
    if is_abandoned():
        raise Fault(Code.CANCELLED, "The reload was abandoned while it waited")
