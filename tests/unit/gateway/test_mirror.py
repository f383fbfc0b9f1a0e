"""Copies of answered requests: to the other engine, compared, and never at the client's cost."""

import asyncio
import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from gateway.core.messages import EngineBatch
from gateway.core.published import PublishedVersion
from gateway.core.tensors import Signature, Tensor, TensorSpec
from tests.unit.gateway.adder import LedgerEvents, add, ask, published
from tests.unit.gateway.wired_core import Engines, Gateway, Platform, until


async def test_a_share_of_the_answers_is_asked_for_again_and_compared(platform: Platform) -> None:
    await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 0.25})
    for value in range(8):
        await platform.ask(value=value)
    await until(lambda: platform.events.counts["mirror match"] == 2, "every fourth was copied")
    assert not platform.mirror.mismatches

    def off_by_one(batch: EngineBatch) -> Mapping[str, Tensor]:
        return {"sum": add(batch)["sum"] + 1}

    platform.engines["tfserving"].answer = off_by_one
    answers = [await platform.ask(value=value) for value in range(4)]
    assert [answer.outputs["sum"][0, 0] for answer in answers] == [0, 2, 4, 6], "the client's answer is not changed"
    await until(lambda: platform.events.counts["mirror mismatch"] == 1, "the copy differs")
    (mismatch,) = platform.mirror.mismatches
    assert (mismatch.answered_by, mismatch.mirrored_to) == ("torchserve", "tfserving")
    assert mismatch.problem.startswith("sum differs by 1")
    assert mismatch.copy["sum"][0, 0] == mismatch.answer["sum"][0, 0] + 1 == 2 * mismatch.inputs["a"][0, 0] + 1
    platform.events.assert_balanced()
    assert platform.events.counts["accepted"] == 12, "copies are in nobody's ledger"


async def test_copies_are_bounded_and_never_delay_the_client(platform: Platform) -> None:
    await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 1.0})
    platform.engines["tfserving"].gate.clear()
    for _ in range(100):
        assert (await asyncio.wait_for(platform.ask(), 1)).engine == "torchserve"
    assert platform.events.counts["mirror dropped"] >= 60
    platform.engines["tfserving"].gate.set()
    await until(lambda: sum(n for k, n in platform.events.counts.items() if "mirror" in k) == 100, "all are accounted")


@pytest.mark.parametrize("shape", [(), (3,)])
async def test_a_model_without_rows_is_copied_as_one_request(
    engines: Engines, events: LedgerEvents, shape: tuple[int, ...]
) -> None:
    inputs = tuple(TensorSpec(name, "FP32", shape) for name in ("a", "b"))
    signature = Signature(inputs, (TensorSpec("sum", "FP32", shape),))
    gateway = Gateway(engines, events)
    gateway.repository.models = (
        dataclasses.replace(
            published(versions=(2,), kept=()),
            versions={2: PublishedVersion(2, signature, None)},
            mirror={"tfserving": 1.0},
        ),
    )
    for engine in engines:
        engine.answer = lambda batch: {"sum": np.asarray(batch.inputs["a"] + batch.inputs["b"])}
    await gateway.look()
    values = {spec.name: np.ones(shape, np.float32) for spec in inputs}
    await gateway.inference.infer(ask(engine="torchserve")._replace(inputs=values))
    await until(lambda: events.counts["mirror match"] == 1, "the copy is compared")
    assert events.batch_rows == [1, 1], "the request and its copy"
    events.assert_balanced()
