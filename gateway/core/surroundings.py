"""What a rollout works with, handed over in one piece.

Rules: nothing but references to what the composition root made; no rollout owns any of it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway.core.counts import Ledger
from gateway.core.keeper import Keeper
from gateway.core.ports import Events, Peers, Repository


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that rollouts touch, of `engines` the names.

    `read_memory` gives the resident bytes of each engine that is measured, by name.
    """

    engines: Collection[str]
    repository: Repository
    keeper: Keeper
    peers: Peers
    ledger: Ledger
    events: Events
    read_memory: Callable[[], Mapping[str, int]]
