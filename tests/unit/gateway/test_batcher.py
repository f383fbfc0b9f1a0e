"""The batcher: what goes together, what fails together, and that nobody waits for ever."""

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest

from gateway.core.batcher import Batcher, BatchLimits
from gateway.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRejected,
    EngineUnreachable,
    Overloaded,
    ServingError,
    TooLarge,
)
from gateway.core.messages import EngineBatch
from gateway.core.pace import Bounds
from gateway.core.tensors import Signature, Tensor, TensorSpec
from gateway.core.ticket import Served
from gateway.engines.fake import FakeEngine
from tests.platform_process import wait_until_async
from tests.unit.gateway.adder import ADDER, LedgerEvents, add, numbers

LIMITS = BatchLimits(Bounds(most_in_flight=1, most_rows=8), queue_rows=10)
ROOMY = BatchLimits(Bounds(most_in_flight=1, most_rows=8), queue_rows=64)


def make(engine: FakeEngine, events: LedgerEvents, limits: BatchLimits = LIMITS) -> Batcher:
    return Batcher(engine, "adder", 1, ADDER, limits, events)


def submit(batcher: Batcher, value: float, rows: int = 1, timeout_s: float = 30.0) -> asyncio.Task[Served]:
    loop = asyncio.get_running_loop()
    return loop.create_task(batcher.submit(numbers(rows, value), rows, loop.time() + timeout_s))


async def asked(engine: FakeEngine) -> None:
    """Until the first batch is out; requests submitted before it are then all queued."""
    await asyncio.wait_for(engine.asked.wait(), 5)


async def until_queued(batcher: Batcher, rows: int) -> None:
    async def holds() -> bool:
        return batcher.queued_rows == rows

    await wait_until_async(holds, 5, f"{rows} rows wait")


async def test_gathers_while_a_batch_is_out_and_gives_everyone_their_own_rows(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    first = submit(batcher, 1)
    await asked(engine)
    tasks = [first, *(submit(batcher, value, value) for value in (2, 3))]
    await until_queued(batcher, 5)
    engine.gate.set()
    served = await asyncio.gather(*tasks)
    assert [s.outputs["sum"].tolist() for s in served] == [[[v * 2] * 2] * v for v in (1.0, 2, 3) for v in (int(v),)]
    assert events.batch_rows == [1, 5], "the first went at once, the others together"
    await batcher.close()
    events.assert_balanced()


async def test_what_comes_in_one_turn_of_the_event_loop_goes_together(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    await asyncio.gather(*(submit(batcher, value) for value in (1, 2, 3)))
    assert rows_of(engine) == [3]


async def test_only_a_full_batch_goes_beside_another(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events, BatchLimits(Bounds(at_once=1, most_in_flight=2, most_rows=4)))
    engine.gate.clear()
    tasks = [submit(batcher, 1)]
    await asked(engine)
    tasks += [submit(batcher, 1) for _ in range(3)]
    await until_queued(batcher, 3)
    assert rows_of(engine) == [1]
    tasks += [submit(batcher, 1) for _ in range(4)]
    await until_queued(batcher, 3)
    engine.gate.set()
    await asyncio.gather(*tasks)
    assert rows_of(engine) == [1, 4, 3]


async def test_a_small_request_waits_for_one_part_of_a_large_one_only(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events, ROOMY)
    engine.gate.clear()
    large = submit(batcher, 1, 40)
    await asked(engine)
    small = submit(batcher, 2)
    await until_queued(batcher, 33)
    engine.gate.set()
    await small
    assert [bool((batch.inputs["a"] == 2).any()) for batch in engine.batches].index(True) <= 2
    assert (await large).outputs["sum"].tolist() == [[2, 2]] * 40


async def test_a_full_queue_refuses_early(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    first = submit(batcher, 1)
    await asked(engine)
    tasks = [first, *(submit(batcher, 1, rows) for rows in (6, 4))]
    await until_queued(batcher, 10)
    with pytest.raises(Overloaded, match="10 of 10 rows wait"):
        await submit(batcher, 1, 1)
    engine.gate.set()
    await asyncio.gather(*tasks)
    events.assert_balanced()


async def test_who_comes_too_late_is_not_asked_for(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    with pytest.raises(DeadlineExceeded):
        await submit(make(engine, events), 1, timeout_s=-1e-6)
    assert not engine.batches, "an engine at rest would have answered in time to hide it"


async def test_an_expired_request_leaves_the_queue_and_its_mates_are_answered(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    first = submit(batcher, 1)
    await asked(engine)
    late, patient = submit(batcher, 2, timeout_s=0.01), submit(batcher, 3)
    with pytest.raises(DeadlineExceeded):
        await late
    assert events.counts["queue"] == 1, "its place in the queue is free again"
    engine.gate.set()
    assert (await first).outputs["sum"][0, 0] == 2
    assert (await patient).outputs["sum"][0, 0] == 6
    assert [len(batch.inputs["a"]) for batch in engine.batches] == [1, 1], "the expired row was never sent"
    events.assert_balanced()


async def test_a_cancelled_request_does_not_poison_its_batch(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    first, gone, patient = (submit(batcher, value) for value in (1, 2, 3))
    await asked(engine)
    gone.cancel()
    first.cancel()
    engine.gate.set()
    assert (await patient).outputs["sum"][0, 0] == 6
    assert gone.cancelled()
    await batcher.close()
    events.assert_balanced()


async def test_a_row_the_engine_refuses_fails_alone(events: LedgerEvents) -> None:
    def refuse_sevens(batch: EngineBatch) -> Mapping[str, Tensor]:
        if 7 in batch.inputs["a"]:
            raise EngineRejected("no sevens")
        return add(batch)

    engine = FakeEngine("torchserve", refuse_sevens)
    batcher = make(engine, events)
    engine.gate.clear()
    tasks = [submit(batcher, value) for value in (1, 6, 7, 8)]
    await asked(engine)
    engine.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r.outputs["sum"][0, 0] for r in results if isinstance(r, Served)] == [2, 12, 16]
    assert isinstance(results[2], EngineRejected)
    events.assert_balanced()


async def test_a_lost_engine_fails_all_that_wait_on_the_batch(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    tasks = [submit(batcher, 1), submit(batcher, 2)]
    await asked(engine)
    engine.is_reachable = False
    engine.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [EngineUnreachable, EngineUnreachable]
    assert results[0] is not results[1], "each has its own exception"
    events.assert_balanced()


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"sum": np.zeros((2, 2), np.float32)}, "expected 1 rows of 'sum', got 2"),
        ({"sum": np.zeros((1, 3), np.float32)}, "expected output sum FP32[-1, 2], got FP32[1, 3]"),
        ({"sum": np.zeros((1, 2), np.float64)}, "got FP64"),
        ({"total": np.zeros((1, 2), np.float32)}, "no output sum"),
    ],
)
async def test_an_answer_against_the_signature_is_a_failure(
    outputs: dict[str, Tensor], said: str, events: LedgerEvents
) -> None:
    batcher = make(FakeEngine("torchserve", lambda _: outputs), events)
    with pytest.raises(EngineFailed) as error:
        await submit(batcher, 1)
    assert said in error.value.message
    events.assert_balanced()


async def test_a_bug_in_an_engine_leaves_nobody_waiting(events: LedgerEvents) -> None:
    def crash(batch: EngineBatch) -> Mapping[str, Tensor]:
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the task's own exception is meant to be loud; not here
    with pytest.raises(EngineFailed, match="ZeroDivisionError"):
        await submit(make(FakeEngine("torchserve", crash), events), 1)
    events.assert_balanced()


async def test_a_bug_in_the_retry_of_single_rows_leaves_nobody_waiting(events: LedgerEvents) -> None:
    def refuse_then_crash(batch: EngineBatch) -> Mapping[str, Tensor]:
        if len(batch.inputs["a"]) > 1:
            raise EngineRejected("not together")
        if batch.inputs["a"][0, 0] == 7:
            raise ZeroDivisionError
        return add(batch)

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    engine = FakeEngine("torchserve", refuse_then_crash)
    batcher = make(engine, events)
    engine.gate.clear()
    tasks = [submit(batcher, value) for value in (1, 6, 7, 8)]
    await asked(engine)
    engine.gate.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [Served, Served, EngineFailed, EngineFailed]
    events.assert_balanced()


async def test_a_bug_after_one_answer_leaves_its_batch_mates_theirs(events: LedgerEvents) -> None:
    batcher = make(FakeEngine("torchserve", add), events)

    def crash(outcome: Served | ServingError) -> None:
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    mate: asyncio.Future[Served | ServingError] = loop.create_future()
    batcher.send(numbers(1, 1.0), 1, loop.time() + 30, crash)
    batcher.send(numbers(1, 2.0), 1, loop.time() + 30, mate.set_result)
    served = await mate
    assert isinstance(served, Served)
    assert served.outputs["sum"].tolist() == [[4, 4]]
    assert events.batch_rows == [2]
    await batcher.close()
    events.assert_balanced()


async def test_abandoned_requests_are_told_at_once_queued_or_sent(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    engine.gate.clear()
    tasks = [submit(batcher, 1), submit(batcher, 2)]
    await asked(engine)
    assert batcher.silent_s > 0
    batcher.abandon(EngineUnreachable("lost"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [EngineUnreachable, EngineUnreachable]
    await batcher.close()
    events.assert_balanced()


def rows_of(engine: FakeEngine) -> list[int]:
    return [len(batch.inputs["a"]) for batch in engine.batches]


async def test_a_request_over_the_row_limit_is_sent_in_parts_and_answered_whole(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events, ROOMY)
    numbered = {name: np.arange(42, dtype=np.float32).reshape(21, 2) for name in ("a", "b")}
    served = await batcher.submit(numbered, 21, asyncio.get_running_loop().time() + 30)
    np.testing.assert_array_equal(served.outputs["sum"], numbered["a"] * 2)
    assert rows_of(engine) == [8, 8, 5], "no call is over the limit"
    assert served.queue_s + served.upstream_s > 0
    events.assert_balanced()


async def test_a_request_of_more_rows_than_may_ever_wait_is_refused(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events)
    with pytest.raises(TooLarge, match="at most 10 rows in one request, got 11"):
        await submit(batcher, 1, 11)
    assert not engine.batches


async def test_the_last_part_takes_others_along(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events, ROOMY)
    engine.gate.clear()
    large, small = submit(batcher, 1, 10), submit(batcher, 2, 1)
    await asked(engine)
    engine.gate.set()
    assert (await large).outputs["sum"].tolist() == [[2, 2]] * 10
    assert (await small).outputs["sum"].tolist() == [[4, 4]]
    assert rows_of(engine) == [8, 3]
    events.assert_balanced()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
async def test_one_part_that_fails_fails_the_request_and_spares_the_engine_the_rest(events: LedgerEvents) -> None:
    def refuse_nines(batch: EngineBatch) -> Mapping[str, Tensor]:
        if 9 in batch.inputs["a"]:
            raise EngineRejected("no nines")
        return add(batch)

    engine = FakeEngine("torchserve", refuse_nines)
    batcher = make(engine, events, ROOMY)
    numbered = {name: np.arange(40, dtype=np.float32)[:, None].repeat(2, 1) for name in ("a", "b")}
    with pytest.raises(EngineRejected, match="no nines"):
        await batcher.submit(numbered, 40, asyncio.get_running_loop().time() + 30)
    await batcher.close()
    assert rows_of(engine)[:2] == [8, 8]
    assert len(rows_of(engine)) < 5, "what nobody waits for is not computed"
    assert (await submit(batcher, 1)).outputs["sum"].tolist() == [[2, 2]]
    events.assert_balanced()


async def test_a_large_request_that_expires_or_is_cancelled_leaves_nothing_behind(events: LedgerEvents) -> None:
    engine = FakeEngine("torchserve", add)
    batcher = make(engine, events, ROOMY)
    engine.gate.clear()
    late, gone = submit(batcher, 1, 20, timeout_s=0.05), submit(batcher, 1, 20)
    await asked(engine)
    gone.cancel()
    with pytest.raises(DeadlineExceeded):
        await late
    engine.gate.set()
    await batcher.close()
    assert (batcher.queued_rows, rows_of(engine)) == (0, [8])
    events.assert_balanced()


async def test_what_cannot_be_joined_is_not_parted(events: LedgerEvents) -> None:
    ragged = Signature(ADDER.inputs, (TensorSpec("sum", "FP32", (-1, -1)),))
    engine = FakeEngine("torchserve", add)
    batcher = Batcher(engine, "adder", 1, ragged, ROOMY, events)
    assert len((await submit(batcher, 1, 20)).outputs["sum"]) == 20
    assert rows_of(engine) == [20]


async def test_outputs_come_in_the_order_of_the_signature(events: LedgerEvents) -> None:
    """TorchServe's blobs come in any."""
    specs = tuple(TensorSpec(name, "FP32", (-1, 2)) for name in ("z", "a", "sum"))

    def shuffled(batch: EngineBatch) -> Mapping[str, Tensor]:
        return dict.fromkeys(("sum", "z", "stray", "a"), add(batch)["sum"])

    batcher = Batcher(FakeEngine("torchserve", shuffled), "adder", 1, Signature(ADDER.inputs, specs), ROOMY, events)
    for rows in (1, 20):
        assert list((await submit(batcher, 1, rows)).outputs) == ["z", "a", "sum"]
