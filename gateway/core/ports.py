"""The holes in the core that the outside fills: engines, the repository, and whoever counts.

Rules: small, asynchronous where the outside is, no default behaviour. Adapters translate every error of their
library into gateway.core.errors before it crosses this line.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.counts import Counts
from gateway.core.messages import EngineBatch
from gateway.core.published import Golden, PublishedModel, Rollout
from gateway.core.tensors import Tensor
from gateway.core.usage import Usages


class VersionState(enum.Enum):
    """A version on one engine. Engines report all but WARMING: loaded, and answering its golden inputs."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    UNLOADING = "unloading"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of a version on an engine; `reason` says why it is ERROR.

    `may_be_endpoints`: that may be the endpoint's doing and not the version's, for it could not be reached.
    """

    state: VersionState
    reason: str = ""
    may_be_endpoints: bool = False


def engine_of(endpoint: str) -> str:
    """The engine that an endpoint answers as: an endpoint's name begins with it."""
    return endpoint.partition("/")[0]


class Engine(Protocol):
    """A model server: one endpoint of an engine."""

    @property
    def name(self) -> str:
        """The engine it answers as: `torchserve` or `tfserving`."""

    @property
    def endpoint(self) -> str:
        """The endpoint it is, by one name in all gateway processes: the engine's, a slash, its address."""

    @property
    def implementation(self) -> str:
        """What answers as this engine: `torchserve`, `tensorflow_model_server` or `embedded`."""

    @property
    def address(self) -> str:
        """Where it is; two gateways that mean the same server say the same."""

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """Return the outputs by name.

        Raises EngineUnreachable, EngineFailed, EngineRejected, DeadlineExceeded.
        """

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """What the engine holds of these models, by (model, version). Raises EngineUnreachable, EngineFailed."""

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """Begin to hold exactly these versions of these models; `observe` tells when they are ready. Idempotent.

        Raises EngineUnreachable, EngineFailed.
        """

    async def close(self) -> None:
        """Give connections back."""


class Repository(Protocol):
    """The single source of truth for what exists and what is live."""

    def scan(self) -> Mapping[str, PublishedModel]:
        """Every servable model by name. A model that cannot be read is left out and reported by the adapter."""

    async def find_damage(self, model: str, version: int) -> str:
        """Why the files of a version are not those that were published; "" when they are."""

    async def read_golden(self, model: str, version: int) -> Golden | None:
        """The inputs whose answers are known; None when the version has none. Raises RepositoryFailed."""

    async def change(self, model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        """Change which version is live, and the routing, with nobody else changing it meanwhile.

        What `change` raises leaves everything as it is. Raises NotFound, RepositoryFailed.
        """

    async def record(self, model: str, rollout: Rollout) -> None:
        """Remember a rollout, in place of the one with the same id. Raises RepositoryFailed."""

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """The last rollouts of a model, oldest first."""


Using = Mapping[str, frozenset[tuple[str, int]]]
"""By endpoint: the (model, version) that a gateway process routes to, or holds requests on."""


@dataclass(frozen=True, slots=True)
class PeerReport:
    """What one gateway process told. `answering` is the version by model that it sends unversioned requests to;
    `was_ready` that it has been ready, which it may not be now.
    """

    using: Using
    counts: Mapping[tuple[str, int], Counts]
    answering: Mapping[str, int]
    usages: Usages = field(default_factory=dict)
    was_ready: bool = False


class Peers(Protocol):
    """All gateway processes on one repository."""

    @property
    def name(self) -> str:
        """This process, as others see it."""

    def lead(self, what: str) -> bool:
        """Whether this process is the one that sees to `what`; of all of them one at a time is."""

    def stop_leading(self, what: str) -> None:
        """Leave `what` to another process, or to nobody. Idempotent."""

    def tell(self, report: PeerReport) -> None:
        """Let the others know what this process uses, before it does, and what it has counted. Raises nothing."""

    def others(self) -> Mapping[str, PeerReport]:
        """What the others told last, by their names; those that died are left out."""


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

    def in_flight_changed(self, endpoint: str, requests: int) -> None:
        """Requests an endpoint is working on went up or down by this many."""

    def queue_changed(self, engine: str, rows: int) -> None:
        """Rows waiting for an engine went up or down by this many."""

    def engine_seen(self, engine: str, implementation: str, is_up: bool) -> None:
        """An endpoint of an engine was probed; whether any of that engine is up now."""

    def endpoint_seen(self, endpoint: str, is_up: bool) -> None:
        """An endpoint was probed."""

    def endpoint_left(self, endpoint: str) -> None:
        """There is no such endpoint any more."""

    def version_seen(self, model: str, version: int, engine: str, state: VersionState | None) -> None:
        """The best that any endpoint of an engine made of a version; None when it is on none."""

    def mirrored(self, model: str, version: int, result: str, max_abs_diff: float | None) -> None:
        """A copy of a request was made, or dropped: match, mismatch, error, dropped."""

    def swap_phase_done(self, model: str, phase: str, seconds: float) -> None:
        """A promote or rollback went through one of its phases, or failed: phase `failed`, the seconds of all of it."""
