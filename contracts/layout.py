"""Where things lie in the repository (`model_repo/`): names only, shared by whoever publishes, serves and watches.

<repository>/<model>/live.json            which version is live, and the routing weights
<repository>/<model>/<version>/           a SavedModel root, beside
                     <model>.mar          the TorchServe archive,
                     manifest.json        and golden.npz (inputs and expected outputs)
<repository>/<model>/.staging-*           a version being made; no engine reads a non-numeric name
<repository>/.torchserve/                 TorchServe's model store: a link per archive, named <model>-<version>.mar
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.atomic import write_atomic
from contracts.manifest import encode_document, read_document

TORCHSERVE_STORE = ".torchserve"
STAGING_PREFIX = ".staging-"
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True)
class VersionPaths:
    """The files of one version of one model."""

    root: Path
    model: str

    @property
    def archive(self) -> Path:
        return self.root / f"{self.model}.mar"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def golden(self) -> Path:
        return self.root / "golden.npz"


@dataclass(frozen=True)
class ModelPaths:
    """The directory of one model."""

    repository: Path
    model: str

    @property
    def root(self) -> Path:
        return self.repository / self.model

    @property
    def live(self) -> Path:
        return self.root / "live.json"

    def version(self, version: int) -> VersionPaths:
        return VersionPaths(self.root / str(version), self.model)

    def published(self) -> list[int]:
        """Versions that exist, ascending. A version exists when its directory does: publishing is one rename."""
        if not self.root.is_dir():
            return []
        return sorted(int(p.name) for p in self.root.iterdir() if _VERSION.fullmatch(p.name) and p.is_dir())


def models(repository: Path) -> list[ModelPaths]:
    """The models of a repository, by name."""
    if not repository.is_dir():
        return []
    found = sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [ModelPaths(repository, p.name) for p in found]


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`live.json`: the live version, and the share of traffic each engine gets when the client names none."""

    live: int
    routing: dict[str, float] = msgspec.field(default_factory=lambda: {"torchserve": 0.5, "tfserving": 0.5})

    def __post_init__(self) -> None:
        if self.live < 1:
            raise ValueError(f"live version {self.live} is not positive")
        if not self.routing or min(self.routing.values()) < 0 or sum(self.routing.values()) <= 0:
            raise ValueError(f"routing weights {self.routing} must be non-negative with a positive sum")


def read_live(paths: ModelPaths) -> Live:
    """Read `live.json`. Raises FileNotFoundError, contracts.manifest.BadDocument."""
    return read_document(paths.live, Live)


def write_live(paths: ModelPaths, live: Live) -> None:
    """Make `live` the truth for every process that follows the file. Raises OSError."""
    write_atomic(paths.live, encode_document(live))
