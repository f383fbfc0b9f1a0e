"""The holes in the core that the outside fills: engines, the repository, and whoever counts.

Rules: small, asynchronous where the outside is, no default behaviour. Adapters translate every error of their
library into gateway.core.errors before it crosses this line.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.messages import EngineBatch
from gateway.core.tensors import Signature, Tensor


class VersionState(enum.Enum):
    """A version on one engine, as the engine itself reports it."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of a version on an engine; `reason` says why it is ERROR."""

    state: VersionState
    reason: str = ""


class Engine(Protocol):
    """A model server."""

    @property
    def name(self) -> str:
        """`torchserve` or `tfserving`."""

    @property
    def implementation(self) -> str:
        """What answers as this engine: `torchserve`, `tensorflow_model_server` or `embedded`."""

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """Return the outputs by name.

        Raises EngineUnreachable, EngineFailed, EngineRejected, DeadlineExceeded.
        """

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """What the engine holds of these models, by (model, version). Raises EngineUnreachable, EngineFailed."""

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """Begin to hold exactly these versions; `observe` tells when they are ready. Idempotent.

        Raises EngineUnreachable, EngineFailed.
        """

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How a picture becomes a row of `input` (pixels 0..1) and a row of `output` becomes a label."""

    input: str
    output: str
    width: int
    height: int
    is_light_on_dark: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version in the repository."""

    version: int
    signature: Signature
    image: ImageRecipe | None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in the repository: its versions, which is live, and each engine's share of unforced traffic."""

    name: str
    live: int
    weights: Mapping[str, float]
    versions: Mapping[int, PublishedVersion]


class Repository(Protocol):
    """The single source of truth for what exists and what is live."""

    def scan(self) -> Mapping[str, PublishedModel]:
        """Every servable model by name. A model that cannot be read is left out and reported by the adapter."""


class Events(Protocol):
    """Whoever counts. Every method returns at once and never raises."""

    def accepted(self, model: str, version: int) -> None:
        """The ledger: a request was taken on."""

    def answered(self, model: str, version: int) -> None:
        """The ledger: it was answered."""

    def failed(self, model: str, version: int) -> None:
        """The ledger: it failed, was cancelled or ran out of time."""

    def batch_done(self, engine: str, model: str, version: int, rows: int) -> None:
        """An engine answered a batch of this many rows."""

    def in_flight_changed(self, engine: str, requests: int) -> None:
        """Requests an engine is working on went up or down by this many."""

    def queue_changed(self, engine: str, rows: int) -> None:
        """Rows waiting for an engine went up or down by this many."""

    def engine_seen(self, engine: str, implementation: str, is_up: bool) -> None:
        """An engine was probed."""

    def version_seen(self, model: str, version: int, engine: str, state: VersionState | None) -> None:
        """A version was observed on an engine; None when it is not there."""
