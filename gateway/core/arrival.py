"""Whether a version has come to every engine that is to have it, on all of its endpoints.

Rules: only what was seen after the rollout began counts, and a failure only when it is of this attempt. An endpoint
that is down is not waited for while its engine has another one that is up. One that is going down looks like one that
the version kills: while another one has it ready, that is waited out for a moment. Where none has, it is the version's
fault, for it must not take one after the other along. Decides nothing: whoever waits asks again.
"""

import time
from collections.abc import Collection
from typing import TypeGuard

from gateway.core.keeper import Keeper
from gateway.core.ports import Observed, Peers, VersionState, engine_of
from gateway.core.rollout_failures import BadVersion
from gateway.core.routes import uses_everywhere

_OLD_NEWS_S = 10.0
PASSING_S = 10.0
"""Longer than it takes until an endpoint that died is known to be down."""


class Arrival:
    """Of one (model, version) on `engines`, from now on."""

    def __init__(self, key: tuple[str, int], engines: Collection[str], keeper: Keeper, peers: Peers) -> None:
        self._key = key
        self._engines = engines
        self._keeper = keeper
        self._peers = peers
        self._began_at = time.monotonic()
        endpoints = [one.endpoint for engine in engines for one in keeper.endpoints(engine)]
        self._rounds = {endpoint: keeper.rounds(endpoint) for endpoint in endpoints}
        self._seen_before = {endpoint: self._seen(endpoint) for endpoint in endpoints}
        self._failing_since: dict[str, float] = {}

    def is_loaded(self) -> bool:
        """Whether every engine has it loaded, warm or not. Raises BadVersion when an endpoint cannot."""
        return self._all(VersionState.WARMING, VersionState.READY)

    def is_ready(self) -> bool:
        """Whether every engine answers rightly with it, and every gateway process knows. Raises BadVersion."""
        return self._all(VersionState.READY) and all(
            uses_everywhere(report.using, engine, self._key)
            for report in self._peers.others().values()
            for engine in self._engines
        )

    def why_not_ready(self) -> str:
        """Who does not have it yet."""
        states = []
        for engine in self._engines:
            up = self._up(engine)
            states += [f"{self._called(endpoint)} {self._described(endpoint)}" for endpoint in up]
            states += [] if up else [f"{engine} is down"]
        for name, report in self._peers.others().items():
            without = [engine for engine in self._engines if not uses_everywhere(report.using, engine, self._key)]
            if without:
                states.append(f"gateway {name} does not have it on {' and '.join(without)}")
        return ", ".join(states)

    def _all(self, *wanted: VersionState) -> bool:
        seen = {endpoint: self._seen(endpoint) for engine in self._engines for endpoint in self._up(engine)}
        self._failing_since = {one: since for one, since in self._failing_since.items() if one in seen}
        for endpoint, observed in seen.items():
            if _failed(observed) and self._is_news(endpoint, observed) and not self._is_waited_out(endpoint, observed):
                raise BadVersion(f"{self._called(endpoint)}: {observed.reason}")
        return all(map(self._up, self._engines)) and all(
            observed is not None and observed.state in wanted and self._was_looked_at(endpoint)
            for endpoint, observed in seen.items()
        )

    def _up(self, engine: str) -> list[str]:
        """The endpoints of an engine that take part."""
        return [endpoint for endpoint in self._keeper.observed if engine_of(endpoint) == engine]

    def _seen(self, endpoint: str) -> Observed | None:
        return self._keeper.observed.get(endpoint, {}).get(self._key)

    def _described(self, endpoint: str) -> str:
        seen = self._seen(endpoint)
        if seen is None:
            return "has not begun"
        return f"{seen.state.value} ({seen.reason})" if seen.reason else seen.state.value

    def _called(self, endpoint: str) -> str:
        """As operators know it: an engine that is one endpoint by its own name."""
        engine = engine_of(endpoint)
        return endpoint if len(self._keeper.endpoints(engine)) > 1 else engine

    def _was_looked_at(self, endpoint: str) -> bool:
        """Whether what is known of an endpoint is from after the claim; the round then under way may be from before."""
        rounds = self._keeper.rounds(endpoint)
        if rounds < self._rounds.get(endpoint, 0):
            self._rounds[endpoint] = 0  # it went and came again meanwhile, and is counted anew
        return rounds >= self._rounds.get(endpoint, 0) + 2

    def _is_waited_out(self, endpoint: str, observed: Observed) -> bool:
        """Whether a failure is taken for the endpoint's own, for now."""
        since = self._failing_since.setdefault(endpoint, time.monotonic())
        others = [self._seen(other) for other in self._up(engine_of(endpoint)) if other != endpoint]
        has_sibling = any(seen is not None and seen.state is VersionState.READY for seen in others)
        return observed.may_be_endpoints and has_sibling and time.monotonic() - since < PASSING_S

    def _is_news(self, endpoint: str, observed: Observed) -> bool:
        """Whether a failure is of this attempt: what an endpoint says of an earlier one may stand for a while."""
        is_old = observed == self._seen_before.get(endpoint) and time.monotonic() - self._began_at < _OLD_NEWS_S
        return self._was_looked_at(endpoint) and not is_old


def _failed(observed: Observed | None) -> TypeGuard[Observed]:
    return observed is not None and observed.state is VersionState.ERROR
