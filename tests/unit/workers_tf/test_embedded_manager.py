"""The manager with a fake loader: leases, failures, new lives."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.tf.embedded.faults import Code, Fault
from workers.tf.embedded.lookup import Lookup, ModelRequest
from workers.tf.embedded.manager import Manager, Retries
from workers.tf.embedded.owner import Owner
from workers.tf.embedded.states import State

WAIT_S = 10.0


class FakeServable:
    def __init__(self) -> None:
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class FakeLoader:
    """Loads anything, except what lies under a path named broken."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, int]] = []

    def __call__(self, model: str, version: int, path: Path) -> FakeServable:
        self.loads.append((model, version))
        if path.name == "broken":
            raise ValueError("no good")
        return FakeServable()


def paths(*versions: int) -> dict[int, Path]:
    return {version: Path(f"/models/{version}") for version in versions}


def settle(manager: Manager[FakeServable]) -> None:
    while manager.step():
        pass


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def manager(loader: FakeLoader) -> Manager[FakeServable]:
    return Manager(loader, Retries(count=2, interval_s=0))


def states(manager: Manager[FakeServable]) -> dict[int, State]:
    return {status.version: status.state for status in manager.statuses("m")}


def test_the_highest_available_version_answers(manager: Manager[FakeServable]) -> None:
    manager.aspire("m", paths(2, 10))
    settle(manager)
    with manager.lease("m") as leased:
        assert leased.version == 10
    with manager.lease("m", 2) as leased:
        assert leased.version == 2
    assert [s.version for s in manager.statuses("m")] == [10, 2]


@pytest.mark.parametrize(("version", "asked"), [(None, r"Latest\(m\)"), (7, r"Specific\(m, 7\)")])
def test_what_is_not_there_is_not_found(manager: Manager[FakeServable], version: int | None, asked: str) -> None:
    with (
        pytest.raises(Fault, match=f"NOT_FOUND: Servable not found for request: {asked}"),
        manager.lease("m", version),
    ):
        pass


def test_a_lease_outlives_the_swap_and_the_memory_waits_for_it(manager: Manager[FakeServable]) -> None:
    manager.aspire("m", paths(1))
    settle(manager)
    with manager.lease("m") as old:
        manager.aspire("m", paths(2))
        settle(manager)
        assert states(manager) == {1: State.UNLOADING, 2: State.AVAILABLE}
        assert old.servable.closings == 0
        with pytest.raises(Fault), manager.lease("m", 1):
            pass
    settle(manager)
    assert old.servable.closings == 1
    assert states(manager) == {1: State.END, 2: State.AVAILABLE}


def test_a_broken_version_is_tried_again_then_kept_as_ended(manager: Manager[FakeServable], loader: FakeLoader) -> None:
    manager.aspire("m", paths(1))
    settle(manager)
    manager.aspire("m", {2: Path("/broken")})
    settle(manager)
    assert loader.loads == [("m", 1)] + 3 * [("m", 2)]
    ended, serving = manager.statuses("m")
    assert (ended.state, serving.state) == (State.END, State.AVAILABLE)
    assert ended.error is not None
    assert str(ended.error) == "UNKNOWN: ValueError: no good"
    manager.aspire("m", {2: Path("/models/2")})
    settle(manager)
    assert states(manager)[2] is State.END, "it must vanish before it is given another chance"


def test_a_version_that_vanished_and_came_back_gets_a_new_life(manager: Manager[FakeServable]) -> None:
    for wanted in ({1: Path("/broken")}, {}, paths(1), {}, paths(1)):
        manager.aspire("m", wanted)
        settle(manager)
    assert states(manager) == {1: State.AVAILABLE}


def test_a_version_wanted_again_while_it_unloads_comes_back_by_itself(manager: Manager[FakeServable]) -> None:
    manager.aspire("m", paths(1))
    settle(manager)
    with manager.lease("m"):
        manager.aspire("m", {})
        settle(manager)
        manager.aspire("m", paths(1))
        settle(manager)
        assert states(manager) == {1: State.UNLOADING}
    settle(manager)
    assert states(manager) == {1: State.AVAILABLE}


def test_the_loop_acts_on_changes_and_ends_when_told(manager: Manager[FakeServable]) -> None:
    loop = threading.Thread(target=manager.run, daemon=True)
    loop.start()
    manager.aspire("m", paths(1))
    assert manager.wait_until(lambda: states(manager) == {1: State.AVAILABLE}, WAIT_S)
    manager.stop()
    loop.join(WAIT_S)
    assert not loop.is_alive()


def test_labels_are_replaced_as_a_whole(manager: Manager[FakeServable]) -> None:
    manager.aspire("m", paths(1, 2))
    settle(manager)
    lookup = Lookup(manager)
    lookup.relabel({"m": {"stable": 1}})
    with lookup.lease(ModelRequest("m", label="stable")) as leased:
        assert leased.version == 1
    lookup.relabel({})
    with pytest.raises(Fault, match="Unrecognized servable version label: stable") as caught:
        lookup.lease(ModelRequest("m", label="stable"))
    assert caught.value.code is Code.INVALID_ARGUMENT


def nothing() -> None:
    return


def fails() -> None:
    raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("work", "reason"),
    [(nothing, 'thread "manager" ended'), (fails, 'thread "manager" died of RuntimeError: out of luck')],
)
def test_the_owner_notices_a_thread_that_ends(work: Callable[[], None], reason: str) -> None:
    owner = Owner()
    owner.start("manager", work)
    assert owner.wait(WAIT_S)
    assert owner.reason == reason


def test_a_thread_that_ends_after_the_stop_is_as_it_should_be() -> None:
    owner = Owner()
    ended = threading.Event()

    def work() -> None:
        owner.wait()
        ended.set()

    owner.start("source", work)
    owner.stop()
    assert ended.wait(WAIT_S)
    assert owner.reason is None
