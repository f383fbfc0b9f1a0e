"""Where things lie in the repository (`model_repo/`): names only, shared by whoever publishes, serves and watches.

<repository>/<model>/live.json            which version is live, which stay loaded, routing, and the change under way
<repository>/<model>/rollouts.json        the last promotes and rollbacks: their phases, and why one failed
<repository>/<model>/<version>/           a SavedModel root, beside
                     <model>.mar          the TorchServe archive,
                     manifest.json        and golden.npz (inputs and expected outputs)
<repository>/<model>/.staging-*           a version being made; no engine reads a non-numeric name
<repository>/.torchserve/                 TorchServe's model store: a link per archive, named <model>-<version>.mar
<repository>/.gateways/                   what each gateway process uses and has counted (gateway/peers.py)
"""

import re
from dataclasses import dataclass
from pathlib import Path

TORCHSERVE_STORE = ".torchserve"
GATEWAYS = ".gateways"
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

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts.json"

    @property
    def change_lock(self) -> Path:
        """Held for the moment that a change of live.json or rollouts.json takes."""
        return self.root / ".change.lock"

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
