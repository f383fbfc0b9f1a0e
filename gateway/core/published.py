"""What the repository holds, as the core sees it: models, versions, which is live, and how that came to be.

Rules: frozen values; nothing here reads a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.tensors import Signature, Tensor


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
class Golden:
    """Inputs by name, and the outputs that every engine must give for them."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version in the repository. `engines` are those it was made for, None is all there are."""

    version: int
    signature: Signature
    image: ImageRecipe | None
    engines: frozenset[str] | None = None

    def is_for(self, engine: str) -> bool:
        """Whether the engine can load it at all."""
        return self.engines is None or engine in self.engines


@dataclass(frozen=True, slots=True)
class CandidateVersion:
    """A version on its way to being live. It answers `share` (0..1) of the requests that name no version.

    `owner` is the gateway process that runs the change; past `expires_at` (Unix seconds) anybody may end it.
    """

    version: int
    rollout: str
    owner: str
    expires_at: float
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in the repository.

    `previous` was live before `live`; `kept` stay loaded beside it. `weights` is each engine's share of what the
    client leaves open, `mirror` the share (0..1) of answered requests that an engine gets a copy of.
    """

    name: str
    live: int
    weights: Mapping[str, float]
    versions: Mapping[int, PublishedVersion]
    previous: int | None = None
    kept: tuple[int, ...] = ()
    mirror: Mapping[str, float] = field(default_factory=dict)
    candidate: CandidateVersion | None = None

    def is_for(self, version: int, engine: str) -> bool:
        """Whether this version is published and was made for the engine."""
        published = self.versions.get(version)
        return published is not None and published.is_for(engine)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One promote or rollback, as far as it has come. Times in Unix seconds, durations in seconds, memory in bytes.

    `is_version_bad`: it failed because of the version, and not because somebody or something ended it.
    """

    id: str
    kind: Literal["promote", "rollback"]
    version: int
    from_version: int
    owner: str
    started_at: float
    state: Literal["running", "done", "failed"] = "running"
    phase: str = ""
    reason: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    memory_before: Mapping[str, int] = field(default_factory=dict)
    memory_after: Mapping[str, int] = field(default_factory=dict)
    ended_at: float | None = None
    is_version_bad: bool = False
