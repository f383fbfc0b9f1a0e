"""The sender never waits for answers, measures from when a request was due, and accounts for every arrival."""

import asyncio
import itertools

import pytest

from loadtest.arrivals import poisson_arrivals
from loadtest.open_loop import WRONG, Fate, OpenLoop, Outcome, Target
from tests.platform_process import free_ports, wait_until_async
from tests.unit.loadtest.fake_gateway import FakeGateway, Faults, fake_gateway, known_answers, nth

RUN = "test"


def open_loop(target: Target) -> OpenLoop:
    return OpenLoop(target, known_answers(), RUN)


async def run_load(gateway: FakeGateway, count: int = 40, engine: str | None = None) -> OpenLoop:
    load = open_loop(gateway.target(engine=engine))
    await load.run(itertools.islice(poisson_arrivals(400, seed=1), count), asyncio.Event())
    return load


def by_number(load: OpenLoop) -> dict[int, Outcome]:
    assert len({outcome.number for outcome in load.outcomes}) == len(load.outcomes)
    return {outcome.number: outcome for outcome in load.outcomes}


async def test_every_arrival_is_answered_and_recorded() -> None:
    async with fake_gateway() as gateway:
        load = await run_load(gateway)
    assert sorted(by_number(load)) == list(range(40))
    assert [outcome for outcome in load.outcomes if outcome.fault or outcome.fate is not Fate.ANSWERED] == []
    assert {(o.status, o.version, o.request_id) for o in load.outcomes} == {(200, "2", f"{RUN}-{n}") for n in range(40)}
    assert {outcome.engine for outcome in load.outcomes} == {"torchserve", "tfserving"}
    assert load.outstanding == 0
    assert sorted(gateway.received_ids) == sorted(f"{RUN}-{n}" for n in range(40))


async def test_a_server_that_answers_nothing_still_gets_every_request() -> None:
    """Open loop; and latency counts from when each was due, not from when the server turned to it."""
    async with fake_gateway() as gateway:
        gateway.gate.clear()
        load = open_loop(gateway.target())
        running = asyncio.create_task(load.run([0.0, 0.05, 0.1, 0.15], asyncio.Event()))

        async def has_received_all() -> bool:
            return gateway.received == 4

        await wait_until_async(has_received_all, 10, "all requests without any answer")
        assert load.outcomes == []
        assert load.outstanding == 4
        released_at = asyncio.get_running_loop().time()
        gateway.gate.set()
        await running
    for outcome in load.outcomes:
        assert outcome.latency_s >= released_at - outcome.due_at
    assert by_number(load)[0].latency_s >= by_number(load)[3].latency_s + 0.1


async def test_being_late_ourselves_counts_into_latency_and_is_told() -> None:
    async with fake_gateway() as gateway:
        load = open_loop(gateway.target())
        await load.run([-0.5, -0.4], asyncio.Event())
    for outcome in load.outcomes:
        assert outcome.latency_s > outcome.lag_s > 0.39


async def test_what_is_over_the_bound_is_recorded_as_not_sent() -> None:
    async with fake_gateway() as gateway:
        gateway.gate.clear()
        load = open_loop(gateway.target(most_outstanding=3))
        running = asyncio.create_task(load.run([n / 1000 for n in range(10)], asyncio.Event()))

        async def has_refused_seven() -> bool:
            return load.counts[Fate.NOT_SENT] == 7 and gateway.received == 3

        await wait_until_async(has_refused_seven, 10, "three sent, seven not")
        gateway.gate.set()
        await running
        assert gateway.received == 3
    outcomes = by_number(load)
    assert [outcomes[n].fate for n in range(10)] == [Fate.ANSWERED] * 3 + [Fate.NOT_SENT] * 7
    assert outcomes[9].fault == "3 answers were owed"


@pytest.mark.parametrize(
    ("faults", "fate", "status", "said"),
    [
        (Faults(is_lost=nth(3, 17)), Fate.LOST, 0, "ServerDisconnectedError"),
        (Faults(is_cut=nth(3, 17)), Fate.LOST, 0, "ClientPayloadError"),
        (Faults(is_refused=nth(3, 17)), Fate.FAILED, 503, "no engine can answer"),
        (Faults(is_corrupted=nth(3, 17)), Fate.ANSWERED, 200, "0.01 away from it"),
        (Faults(is_mislabelled=nth(3, 17)), Fate.ANSWERED, 200, "says version 2, but version 1 computed it"),
        (Faults(is_swapped=nth(3, 17)), Fate.ANSWERED, 200, 'has X-Request-Id "another\'s"'),
    ],
)
async def test_each_bad_answer_is_noticed_and_no_other(faults: Faults, fate: Fate, status: int, said: str) -> None:
    async with fake_gateway(faults) as gateway:
        load = await run_load(gateway)
    bad = [outcome for outcome in load.outcomes if outcome.fault]
    assert [(outcome.fate, outcome.status) for outcome in bad] == [(fate, status)] * 2
    assert all(said in outcome.fault for outcome in bad)
    wrong = 2 if fate is Fate.ANSWERED else 0
    assert (load.counts[fate], load.counts[WRONG]) == (40 if wrong else 2, wrong)
    assert sum(load.counts[each] for each in Fate) == 40


async def test_no_answer_within_the_timeout_is_lost() -> None:
    async with fake_gateway() as gateway:
        gateway.gate.clear()
        load = open_loop(gateway.target(timeout_s=0.2))
        await load.run([0.0, 0.01], asyncio.Event())
        gateway.gate.set()
    assert [outcome.fate for outcome in load.outcomes] == [Fate.LOST] * 2
    assert all("Timeout" in outcome.fault for outcome in load.outcomes)
    assert all(outcome.latency_s >= 0.2 for outcome in load.outcomes)


async def test_nobody_listens() -> None:
    load = open_loop(Target(f"http://127.0.0.1:{free_ports().http}", "mnist"))
    await load.run([0.0, 0.01, 0.02], asyncio.Event())
    assert [outcome.fate for outcome in load.outcomes] == [Fate.LOST] * 3
    assert "Cannot connect" in load.outcomes[0].fault


async def test_a_forced_engine_is_asked_for_and_must_answer() -> None:
    async with fake_gateway() as gateway:
        load = await run_load(gateway, 8, engine="tfserving")
        assert gateway.engines == ["tfserving"] * 8
    assert load.counts[WRONG] == 0


async def test_stop_ends_the_sending_between_two_arrivals() -> None:
    async with fake_gateway() as gateway:
        load, stop = open_loop(gateway.target()), asyncio.Event()
        running = asyncio.create_task(load.run(itertools.chain([0.0], itertools.repeat(3600.0)), stop))

        async def has_answered() -> bool:
            return len(load.outcomes) == 1

        await wait_until_async(has_answered, 10, "the first answer")
        stop.set()
        await asyncio.wait_for(running, 10)
    assert len(load.outcomes) == 1
