"""Endpoints that are found by name: they come with an answer, go with one, and stay while nobody answers."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.core.ports import Engine
from gateway.engines.addresses import ServerAddress
from gateway.engines.finder import Finder, Source
from gateway.engines.lookup import Lookups, resolve
from gateway.engines.unresolved import Unresolved
from tests.unit.gateway.wired_core import until

PLACEHOLDER = "torchserve/torchserve:8080"


@dataclass
class Names:
    """What names stand for at the moment. One without an entry is not known; `is_answering` lets the others wait."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: int = 0
    is_answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.is_answering.set()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked += 1
        await self.is_answering.wait()
        if name not in self.addresses:
            raise socket.gaierror("Name or service not known")
        return self.addresses[name]


@dataclass
class Board:
    """A roster that remembers what happened, in order."""

    there: list[str]
    history: list[str] = field(default_factory=list)
    fewest: int = 1

    def knows(self, endpoint: str) -> bool:
        return endpoint in self.there

    def join(self, engine: Engine) -> None:
        assert engine.endpoint not in self.there
        self.there.append(engine.endpoint)
        self.history.append(f"+ {engine.endpoint}")

    def leave(self, endpoint: str) -> None:
        self.there.remove(endpoint)
        self.history.append(f"- {endpoint}")
        self.fewest = min(self.fewest, len(self.there))


def source(name: str) -> Source:
    return Source("torchserve", ServerAddress(name, (8080,)), lambda at: Unresolved("torchserve", "fake", at.at(0)))


async def follow(names: Names, board: Board, steps: list[tuple[Callable[[], None], list[str]]]) -> None:
    """Do one thing after the other, and wait each time until exactly these endpoints are there."""
    finder = Finder([source(name) for name in ("torchserve",)], board, Lookups(names.resolve, 0.02), 0.01)
    task = asyncio.create_task(finder.run())
    try:
        for step, there in steps:
            step()
            asked = names.asked
            await until(lambda asked=asked: names.asked > asked + 2, "it was looked up again")
            assert sorted(board.there) == there
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


def answer(names: Names, *addresses: str) -> Callable[[], None]:
    return lambda: names.addresses.update(torchserve=addresses)


async def test_endpoints_come_and_go_with_the_answers() -> None:
    names, board = Names(), Board([PLACEHOLDER])
    steps: list[tuple[Callable[[], None], list[str]]] = [
        (lambda: None, [PLACEHOLDER]),
        (answer(names, "10.0.0.3"), ["torchserve/10.0.0.3:8080"]),
        (answer(names, "10.0.0.4", "10.0.0.3"), ["torchserve/10.0.0.3:8080", "torchserve/10.0.0.4:8080"]),
        (answer(names, "10.0.0.9"), ["torchserve/10.0.0.9:8080"]),
        (answer(names, "fd00::7"), ["torchserve/[fd00::7]:8080"]),
    ]
    await follow(names, board, steps)
    assert board.fewest == 1, "new ones join before old ones leave"


async def test_an_error_or_an_empty_answer_changes_nothing() -> None:
    names, board = Names(), Board([PLACEHOLDER])
    there = ["torchserve/10.0.0.3:8080"]
    steps: list[tuple[Callable[[], None], list[str]]] = [
        (answer(names, "10.0.0.3"), there),
        (names.addresses.clear, there),
        (answer(names), there),
        (answer(names, "10.0.0.3"), there),
    ]
    await follow(names, board, steps)
    assert board.history == [f"+ {there[0]}", f"- {PLACEHOLDER}"]


async def test_a_lookup_that_hangs_is_given_up_and_not_repeated_meanwhile() -> None:
    names = Names({"torchserve": ("10.0.0.3",)})
    names.is_answering.clear()
    lookups = Lookups(names.resolve, 0.02)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await lookups.find("torchserve")
    assert names.asked == 1, "each takes a thread"
    names.is_answering.set()
    assert await lookups.find("torchserve") == ("10.0.0.3",)
    assert await lookups.find("torchserve") == ("10.0.0.3",)
    assert names.asked == 2


async def test_who_asks_for_a_name_at_once_gets_the_same_answer() -> None:
    names = Names({"engines": ("10.0.0.3",)})
    lookups = Lookups(names.resolve, 5)
    assert await asyncio.gather(*(lookups.find("engines") for _ in range(3))) == [("10.0.0.3",)] * 3
    assert names.asked == 1
    del names.addresses["engines"]
    answers = await asyncio.gather(lookups.find("engines"), lookups.find("engines"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [socket.gaierror] * 2


async def test_an_address_behind_two_names_is_one_endpoint() -> None:
    names = Names({"one": ("10.0.0.3",), "two": ("10.0.0.3", "10.0.0.4")})
    board = Board(["torchserve/one:8080", "torchserve/two:8080"])
    finder = Finder([source("one"), source("two")], board, Lookups(names.resolve, 1), 0.01)
    task = asyncio.create_task(finder.run())
    both = ["torchserve/10.0.0.3:8080", "torchserve/10.0.0.4:8080"]
    await until(lambda: sorted(board.there) == both, "both are there, once")
    names.addresses["one"] = ("10.0.0.5",)
    await until(lambda: sorted(board.there) == [*both, "torchserve/10.0.0.5:8080"], "it is found by the other name")
    task.cancel()
    await asyncio.wait([task])


async def test_the_systems_resolver_tells_addresses_of_one_kind() -> None:
    assert await resolve("localhost") == ("127.0.0.1",), "though ::1 may be the same host"
    with pytest.raises(OSError, match=r"no-such-name|not known|failure"):
        await resolve("no-such-name.invalid")
    with pytest.raises(OSError, match="is no name"):
        await resolve("x" * 64)
