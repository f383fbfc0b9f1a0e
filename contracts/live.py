"""The two small files that say what is live and how it came to be: `live.json` and `rollouts.json` of a model.

Readers never wait: each file is replaced whole. Who changes one holds a lock for the moment of reading, deciding and
writing, and nothing else. A promote takes longer than that: while it runs, `live.json` names it as the candidate, with
its owner and a time of expiry that the owner renews.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from contracts.atomic import write_atomic
from contracts.layout import ModelPaths
from contracts.manifest import BadDocument, encode_document, read_document

KEPT_ROLLOUTS = 20

VersionNumber = Annotated[int, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version on its way to being live: loaded beside the live one, answering `share` of its requests.

    `rollout` identifies the change, `owner` the gateway process that runs it; `expires_at` is in Unix seconds, and a
    candidate that nobody renews is removed.
    """

    version: VersionNumber
    rollout: str
    owner: str
    expires_at: float
    share: Share = 0.0


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`live.json`: the live version, the one before it, those kept loaded beside it, and who gets which requests.

    `routing` is each engine's share of what the client leaves open, `mirror` the share of answered requests that an
    engine gets a copy of.
    """

    live: VersionNumber
    previous: VersionNumber | None = None
    kept: tuple[VersionNumber, ...] = ()
    routing: dict[str, float] = msgspec.field(default_factory=lambda: {"torchserve": 0.5, "tfserving": 0.5})
    mirror: dict[str, Share] = {}
    candidate: Candidate | None = None

    def __post_init__(self) -> None:
        if not self.routing or min(self.routing.values()) < 0 or sum(self.routing.values()) <= 0:
            raise ValueError(f"routing weights {self.routing} must be non-negative with a positive sum")


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One promote or rollback. Times are in Unix seconds, durations in seconds, memory in bytes by engine."""

    id: str
    kind: Literal["promote", "rollback"]
    version: VersionNumber
    from_version: int
    owner: str
    started_at: float
    state: Literal["running", "done", "failed"] = "running"
    phase: str = ""
    reason: str = ""
    phases: dict[str, float] = {}
    memory_before: dict[str, int] = {}
    memory_after: dict[str, int] = {}
    ended_at: float | None = None
    is_version_bad: bool = False


def read_live(paths: ModelPaths) -> Live:
    """Read `live.json`. Raises FileNotFoundError, contracts.manifest.BadDocument."""
    return read_document(paths.live, Live)


def write_live(paths: ModelPaths, live: Live) -> None:
    """Make `live` the truth for every process that follows the file. Raises OSError."""
    write_atomic(paths.live, encode_document(live))


def change_live(paths: ModelPaths, change: Callable[[Live], Live]) -> Live:
    """Replace `live.json` by what `change` makes of it, with nobody else changing it meanwhile; returns the new one.

    What `change` raises leaves the file as it is. Raises OSError, contracts.manifest.BadDocument.
    """
    with _alone(paths):
        before = read_live(paths)
        after = change(before)
        if after != before:
            write_live(paths, after)
        return after


def read_rollouts(paths: ModelPaths) -> tuple[Rollout, ...]:
    """The last rollouts, oldest first. Raises OSError, contracts.manifest.BadDocument."""
    try:
        return read_document(paths.rollouts, tuple[Rollout, ...])
    except FileNotFoundError:
        return ()


def record_rollout(paths: ModelPaths, rollout: Rollout) -> None:
    """Add a rollout, or renew the one of the same id. A file that is none is set aside. Raises OSError."""
    with _alone(paths):
        try:
            known = {recorded.id: recorded for recorded in read_rollouts(paths)}
        except BadDocument:
            paths.rollouts.replace(paths.rollouts.with_suffix(".bad"))  # no record of old swaps is worth a new one
            known = {}
        known[rollout.id] = rollout  # one that is known keeps its place
        write_atomic(paths.rollouts, encode_document(tuple(known.values())[-KEPT_ROLLOUTS:]))


@contextmanager
def _alone(paths: ModelPaths) -> Iterator[None]:
    """Hold the model's change lock; the kernel frees it however its holder ends."""
    with paths.change_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
