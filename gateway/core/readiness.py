"""Whether the platform can be called ready: strict at the start, lenient from then on.

Rules: the first time every engine must have every live version, so that nobody is sent to half a platform; after that
one engine is enough, for the other may be away. Who joins gateways that have been ready joins after the first time: it
needs what they have. A model published later counts from when it could first be answered.
A process that is about to stop says so first: it is ready no more, and answers whatever it is asked all the same.
"""

import asyncio
from collections.abc import Mapping

from gateway.core.router import ModelRoute

Routes = Mapping[str, ModelRoute]


class Readiness:
    """Remembers what has been ready once."""

    def __init__(self) -> None:
        self.was_ready = False
        self._were_ready: set[str] = set()

    def note(self, routes: Routes, is_complete: bool) -> None:
        """These routes hold from now on; `is_complete` when every engine that is to have a live version has it."""
        self.was_ready = self.was_ready or is_complete
        self._were_ready |= {name for name, route in routes.items() if _has_answer(route)}

    def is_ready(self, routes: Routes) -> bool:
        """Whether every model that could be answered once can be answered with these routes."""
        return self.was_ready and all(_has_answer(routes[name]) for name in routes.keys() & self._were_ready)


class Notice:
    """That this process is about to stop, for whoever tells balancers and clients."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    @property
    def is_given(self) -> bool:
        return self._given.is_set()

    def give(self) -> None:
        """Say so; it cannot be taken back."""
        self._given.set()

    async def wait_given(self) -> None:
        """Return once it is."""
        await self._given.wait()


def can_answer_all(routes: Routes) -> bool:
    """Whether every model's live version has an engine (and there is a model at all)."""
    return bool(routes) and all(_has_answer(route) for route in routes.values())


def _has_answer(route: ModelRoute) -> bool:
    return bool(route.versions[route.live].lanes)
