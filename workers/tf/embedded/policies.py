"""Which of the versions on disk a model wants served (FileSystemStoragePathSourceConfig.ServableVersionPolicy).

Pure: versions in, versions out.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Latest:
    """The `count` highest versions; the default policy, with a count of 1."""

    count: int = 1

    def select(self, versions: Collection[int]) -> tuple[int, ...]:
        """The chosen versions, ascending."""
        return tuple(sorted(versions)[-self.count :])


@dataclass(frozen=True)
class All:
    """Every version."""

    def select(self, versions: Collection[int]) -> tuple[int, ...]:
        """The chosen versions, ascending."""
        return tuple(sorted(versions))


@dataclass(frozen=True)
class Specific:
    """Those named, as far as they exist. Naming none serves nothing."""

    versions: frozenset[int]

    def select(self, versions: Collection[int]) -> tuple[int, ...]:
        """The chosen versions, ascending."""
        return tuple(sorted(self.versions.intersection(versions)))


VersionPolicy = Latest | All | Specific
