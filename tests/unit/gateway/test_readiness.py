"""Ready: strict at the start, lenient from then on."""

from gateway.core.leases import Leases
from gateway.core.readiness import Readiness, can_answer_all
from gateway.core.router import Lane, ModelRoute, VersionRoute
from gateway.core.workload import Workload
from tests.unit.gateway.adder import ADDER


def route(name: str, *engines: str) -> ModelRoute:
    lanes = {engine: (Lane(engine, engine, None, Leases(), Workload()),) for engine in engines}  # type: ignore[arg-type]
    return ModelRoute(name, 1, {}, {1: VersionRoute(1, ADDER, None, lanes)})


FULL = {"a": route("a", "torchserve", "tfserving")}
HALF = {"a": route("a", "torchserve")}
NONE = {"a": route("a")}


def test_it_becomes_ready_whole_and_stays_so_by_half() -> None:
    readiness = Readiness()
    readiness.note(HALF, is_complete=False)
    assert not readiness.is_ready(HALF)
    readiness.note(FULL, is_complete=True)
    for routes, is_ready in ((FULL, True), (HALF, True), (NONE, False), (FULL, True)):
        readiness.note(routes, is_complete=False)
        assert readiness.is_ready(routes) is is_ready


def test_a_later_model_counts_once_it_could_be_answered() -> None:
    readiness = Readiness()
    readiness.note(FULL, is_complete=True)
    for later, is_ready in ((route("b"), True), (route("b", "tfserving"), True), (route("b"), False)):
        routes = {**FULL, "b": later}
        readiness.note(routes, is_complete=False)
        assert readiness.is_ready(routes) is is_ready


def test_everything_can_be_answered_only_if_there_is_something() -> None:
    assert can_answer_all(FULL)
    assert can_answer_all(HALF)
    assert not can_answer_all({**FULL, "b": route("b")})
    assert not can_answer_all({})
