"""Large bodies take turns in a thread: one at a time, in order, so many and no more, and for so long."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from gateway.core.errors import DeadlineExceeded, InvalidRequest, Overloaded
from gateway.protocols.large_bodies import LargeBodies


class Workshop:
    """Work that says who was at it, in which order and how many at once, and waits until its gate is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.done: list[int] = []
        self.at_once = 0
        self.most_at_once = 0

    def piece(self, number: int) -> Callable[[], int]:
        def work() -> int:
            assert threading.current_thread() is not threading.main_thread()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.begun.set()
            assert self.gate.wait(10)
            self.done.append(number)
            self.at_once -= 1
            return number

        return work


@pytest.fixture
def shop() -> Iterator[Workshop]:
    shop = Workshop()
    yield shop
    shop.gate.set()


async def begin(bodies: LargeBodies, shop: Workshop, *numbers: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(bodies.take(shop.piece(number))) for number in numbers]
    assert await asyncio.to_thread(shop.begun.wait, 10)
    return tasks


async def test_one_at_a_time_in_the_order_they_came(shop: Workshop) -> None:
    bodies = LargeBodies(10)
    tasks = await begin(bodies, shop, 1, 2, 3)
    finishing = asyncio.create_task(bodies.finish(shop.piece(4)))
    shop.gate.set()
    assert await asyncio.gather(*tasks, finishing) == [1, 2, 3, 4]
    assert (shop.done, shop.most_at_once) == ([1, 2, 3, 4], 1)


async def test_no_more_wait_than_may(shop: Workshop) -> None:
    bodies = LargeBodies(10, most_waiting=2)
    tasks = await begin(bodies, shop, 1, 2, 3)
    with pytest.raises(Overloaded):
        await bodies.take(shop.piece(4))
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    tasks.append(asyncio.create_task(bodies.take(shop.piece(5))))
    shop.gate.set()
    assert await asyncio.gather(tasks[0], *tasks[2:]) == [1, 3, 5]
    assert shop.done == [1, 3, 5], "who went away before its turn has none"


async def test_whoever_waits_too_long_is_told_and_a_thread_keeps_its_turn_to_its_end(shop: Workshop) -> None:
    bodies = LargeBodies(0.1)
    tasks = await begin(bodies, shop, 1, 2)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, DeadlineExceeded)
    patient = asyncio.create_task(bodies.finish(shop.piece(3)))
    with pytest.raises(DeadlineExceeded):
        await bodies.take(shop.piece(4))
    assert shop.at_once == 1, "the first is at it all the while"
    shop.gate.set()
    assert await patient == 3
    assert (shop.done, shop.most_at_once) == ([1, 3], 1)


async def test_what_is_wrong_is_told_and_the_turn_goes_on(shop: Workshop) -> None:
    def fail() -> None:
        raise InvalidRequest("broken")

    bodies = LargeBodies(10)
    shop.gate.set()
    with pytest.raises(InvalidRequest, match="broken"):
        await bodies.take(fail)
    assert await bodies.take(shop.piece(1)) == 1
