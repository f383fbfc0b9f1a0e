"""One life of one version: the record the manager keeps of it. Mutable, and touched only under the manager's lock."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.plan import Standing
from workers.tf.embedded.states import State, moved


class Servable(Protocol):
    """What a loader makes: something that answers requests until it is closed."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Servable)


@dataclass
class Record(Generic[S]):
    """`servable` is there from AVAILABLE until END; `error` is why the last load failed."""

    model: str
    version: int
    path: Path
    state: State = State.START
    is_aspired: bool = True
    leases: int = 0
    attempts: int = 0
    due_s: float = 0.0
    servable: S | None = None
    error: Fault | None = None

    def move(self, to: State) -> None:
        """Raises IllegalMove."""
        self.state = moved(self.state, to)

    def standing(self) -> Standing:
        """A frozen copy for the plan."""
        return Standing(self.model, self.version, self.state, self.is_aspired, self.leases, self.due_s)


@dataclass(frozen=True)
class VersionStatus:
    """What outsiders may know of a version; `error` only of one that failed to load."""

    version: int
    state: State
    error: Fault | None = None


@dataclass(frozen=True)
class Leased(Generic[S]):
    """A request's hold on one version."""

    version: int
    servable: S
