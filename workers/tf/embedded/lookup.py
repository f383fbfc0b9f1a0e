"""From what a request calls a model (name, version or label) to a lease on a version of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic

from workers.tf.embedded.faults import invalid
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.versions import Leased, S


@dataclass(frozen=True)
class ModelRequest:
    """At most one of `version` and `label` is set; neither means the latest version."""

    model: str
    version: int | None = None
    label: str | None = None


class Lookup(Generic[S]):
    """Resolves labels; the map of all of them is replaced as a whole."""

    def __init__(self, manager: Manager[S]) -> None:
        self._manager = manager
        self._labels: Mapping[str, Mapping[str, int]] = {}

    def relabel(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Replace the labels of all models, by model name; models left out have none."""
        self._labels = labels

    def labels(self, model: str) -> Mapping[str, int]:
        """The labels of a model."""
        return self._labels.get(model, {})

    def lease(self, request: ModelRequest) -> AbstractContextManager[Leased[S]]:
        """Hold the version asked for.

        Raises Fault(INVALID_ARGUMENT) for an unknown label; on entering, Fault(NOT_FOUND) for what is not available.
        """
        version = request.version
        if request.label is not None:
            version = self.labels(request.model).get(request.label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {request.label}")
        return self._manager.lease(request.model, version)
