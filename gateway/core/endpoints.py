"""The endpoints there are at the moment. An endpoint is one server that answers as an engine.

Rules: the engines are fixed, their endpoints come and go. The order is that of the engines, and by name among the
endpoints of one, so that every gateway process has the same without asking. Must not know what endpoints hold.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.core.ports import Engine, engine_of

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Member:
    """An endpoint that is followed. `rounds` counts how many times it was looked at to the end.

    `wake` has it looked at now; `complaint` is what was said last of why it could not be.
    """

    engine: Engine
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    rounds: int = 0
    complaint: str = ""

    async def close(self) -> None:
        """Give its connections back. Raises nothing: the others go on, whatever their libraries think of this one."""
        try:
            await self.engine.close()
        except Exception:
            log.exception("the connections to %s could not be closed", self.engine.endpoint)


class Endpoints(Mapping[str, Member]):
    """By name, in order."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        """`engines` has every engine's first endpoints: there are no other engines, then or later."""
        engines = tuple(engines)
        self.engines = tuple(dict.fromkeys(engine.name for engine in engines))
        self._members: dict[str, Member] = {}
        for engine in engines:
            self.add(engine)

    def __getitem__(self, endpoint: str) -> Member:
        return self._members[endpoint]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def of(self, engine: str) -> tuple[str, ...]:
        """The names of an engine's endpoints."""
        return tuple(name for name in self._members if engine_of(name) == engine)

    def has(self, member: Member) -> bool:
        """Whether this very one is still there, and not another of its name."""
        return self._members.get(member.engine.endpoint) is member

    def add(self, engine: Engine) -> Member:
        """Take an endpoint in. Raises ValueError when there is one of its name, or no such engine."""
        name = engine.endpoint
        if name in self._members or engine_of(name) not in self.engines:
            raise ValueError(f"endpoint {name} is known already, or of none of the engines {self.engines}")
        member = Member(engine)
        members = {**self._members, name: member}
        self._members = {known: members[known] for known in sorted(members, key=self._place)}
        return member

    def remove(self, endpoint: str) -> Member:
        """Let an endpoint go. Raises KeyError."""
        return self._members.pop(endpoint)

    def _place(self, endpoint: str) -> tuple[int, str]:
        return self.engines.index(engine_of(endpoint)), endpoint
