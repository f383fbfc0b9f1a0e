"""Routing follows from what is published and what the engines have: one table of snapshots and routes."""

import dataclasses
from collections.abc import Mapping

import pytest

from gateway.core.leases import Leases
from gateway.core.lifecycle import LaneKey, States
from gateway.core.ports import Observed, VersionState
from gateway.core.published import CandidateVersion, PublishedModel
from gateway.core.router import Canary, Lane
from gateway.core.routes import (
    Snapshot,
    expired_claims,
    lanes_in,
    plan_lanes,
    plan_resident,
    plan_routes,
    uses_everywhere,
    with_lanes,
)
from gateway.core.tensors import Signature
from gateway.core.workload import Workload
from tests.unit.gateway.adder import published

BOTH = ("torchserve", "tfserving")
CANDIDATE = CandidateVersion(3, "r1", "here", expires_at=100.0, share=0.25)
LOADING, WARMING, READY, UNLOADING, ERROR = VersionState


def held(**states: VersionState) -> States:
    """What an engine holds, from `v2=READY`."""
    return {("adder", int(name[1:])): Observed(state) for name, state in states.items()}


def snapshot(
    model: PublishedModel, torchserve: States | None, tfserving: States | None, before: int | None = None
) -> Snapshot:
    """None is an engine that does not take part."""
    # The other way round than `engines`, whose order counts.
    observed = {"tfserving": tfserving, "torchserve": torchserve}
    taking_part = {name: states for name, states in observed.items() if states is not None}
    answering = {} if before is None else {"adder": before}
    return Snapshot(BOTH, {"adder": model}, taking_part, answering, frozenset())


def make_lane(key: LaneKey, signature: Signature) -> Lane:
    return Lane(key.engine, key.endpoint, None, Leases(), Workload())  # type: ignore[arg-type]


PAIR = published(versions=(1, 2, 3), kept=(1,))
ALONE = published(versions=(1, 2, 3), kept=())
CANARY = dataclasses.replace(ALONE, candidate=CANDIDATE)


@pytest.mark.parametrize(
    ("now", "answering", "lanes"),
    [
        (snapshot(PAIR, {}, {}), 2, {2: (), 1: ()}),
        (snapshot(PAIR, None, None), 2, {2: (), 1: ()}),
        (snapshot(PAIR, held(v1=READY, v2=READY), held(v1=READY, v2=READY)), 2, {2: BOTH, 1: BOTH}),
        (snapshot(PAIR, held(v1=READY, v2=WARMING), held(v1=LOADING, v2=READY)), 2, {2: BOTH[1:], 1: BOTH[:1]}),
        (snapshot(PAIR, held(v1=UNLOADING, v2=ERROR), None), 2, {2: (), 1: ()}),
        # What is loaded but not wished for gets no requests.
        (snapshot(ALONE, held(v1=READY, v2=READY), held(v3=READY, v2=READY)), 2, {2: BOTH}),
        # A new live version: the one before goes on until no engine loads it any more.
        (snapshot(ALONE, held(v1=READY, v2=READY), held(v1=READY, v2=LOADING), 1), 1, {2: BOTH[:1], 1: BOTH}),
        (snapshot(ALONE, held(v1=READY, v2=READY), held(v1=READY, v2=ERROR), 1), 2, {2: BOTH[:1]}),
        (snapshot(ALONE, held(v1=READY, v2=READY), None, 1), 2, {2: BOTH[:1]}),
        (snapshot(ALONE, held(v1=READY, v2=ERROR), held(v1=READY, v2=ERROR), 1), 1, {2: (), 1: BOTH}),
        (snapshot(ALONE, held(v2=LOADING), held(v2=LOADING), before=9), 2, {2: ()}),
        (snapshot(CANARY, held(v2=READY, v3=READY), held(v2=READY)), 2, {2: BOTH, 3: BOTH[:1]}),
    ],
)
def test_routes(now: Snapshot, answering: int, lanes: Mapping[int, tuple[str, ...]]) -> None:
    (route,) = plan_routes(now, make_lane).values()
    assert route.live == answering
    assert {version: tuple(known.lanes) for version, known in route.versions.items()} == lanes
    assert plan_resident(now) == {"adder": tuple(lanes)}
    assert plan_lanes(now) == lanes_in({"adder": route}), "what is planned is what is made"


def test_without_a_model_there_are_no_routes() -> None:
    nothing = Snapshot(BOTH, {}, {"torchserve": held(v2=READY)}, {"adder": 2}, frozenset())
    assert plan_routes(nothing, make_lane) == {}
    assert plan_lanes(nothing) == frozenset()


def test_a_canary_gets_its_share_until_its_claim_runs_out() -> None:
    now = snapshot(CANARY, held(v2=READY, v3=READY), None)
    assert plan_routes(now, make_lane)["adder"].canary == Canary(3, 0.25, "r1")
    assert expired_claims(now.models, now=99.0) == frozenset()
    late = dataclasses.replace(now, expired=expired_claims(now.models, now=101.0))
    assert plan_routes(late, make_lane)["adder"].canary is None
    assert plan_lanes(late) == plan_lanes(now), "it stays loaded, and can be asked for by its number"


def test_what_is_used_grows_by_the_lanes() -> None:
    using = {"torchserve": frozenset({("adder", 1)}), "tfserving": frozenset[tuple[str, int]]()}
    grown = with_lanes(using, frozenset({LaneKey("torchserve", "adder", 2)}))
    assert grown == {"torchserve": {("adder", 1), ("adder", 2)}, "tfserving": frozenset()}


@pytest.mark.parametrize(
    ("using", "is_everywhere"),
    [
        ({"torchserve/a": {("adder", 2)}, "torchserve/b": {("adder", 2)}}, True),
        ({"torchserve/a": {("adder", 1)}, "torchserve/b": {("adder", 2)}}, False),
        ({"torchserve/a": set(), "torchserve/b": {("adder", 2)}}, True),  # the first is down
        ({"torchserve/a": set(), "tfserving": {("adder", 2)}}, False),
        ({}, False),
    ],
)
def test_a_process_uses_a_version_on_every_endpoint_that_it_uses(
    using: Mapping[str, set[tuple[str, int]]], is_everywhere: bool
) -> None:
    frozen = {endpoint: frozenset(versions) for endpoint, versions in using.items()}
    assert uses_everywhere(frozen, "torchserve", ("adder", 2)) is is_everywhere
