"""The result of a whole run with engines that pretend, made as the program makes it."""

import asyncio
from collections.abc import Sequence

import numpy as np

from loadtest.bench.machine import Machine
from loadtest.compare.command_line import read_arguments
from loadtest.compare.deployment import Deployment
from loadtest.compare.plan import Side, Sizes
from loadtest.compare.program import make_result
from loadtest.compare.questions import Questions
from loadtest.compare.results import Label, Result
from loadtest.compare.runner import Names, Runner, Wish
from loadtest.compare.trials import Load, Trial
from tests.unit.loadtest.compare.simulated import SimulatedMeter

A, B = "torchserve", "tfserving"
TIMING = "decode;dur=0.1, queue;dur=0.2, upstream;dur=0.5, encode;dur=0.1, total;dur=1.0"
SIZES = Sizes(capacity_s=1.0, slot_s=3.0, noise_pairs=8, pairs=8, direct_pairs=8, slo_s=1.0, fails_needed=1)
MACHINE = Machine(2, "a processor", "", 8 * 10**9, 0.25, "Linux 6", "3.11.2", {"torch": "2.13.0"}, "0123abc")


class _TellingMeter(SimulatedMeter):
    async def measure(self, subject: str, load: Load) -> Trial:
        trial = await super().measure(subject, load)
        late_s = np.full(len(trial.due_s), 0.0001)
        return Trial(
            subject, load, trial.due_s, late_s, trial.latency_s, trial.outstanding, (TIMING,) * len(trial.due_s)
        ).used(trial.usage)


async def make_whole_result(arguments: Sequence[str]) -> Result:
    given = read_arguments(["--rate", "150", *arguments])
    questions = Questions({"x": np.ones((1, 3), np.float32)}, {"y": np.ones((1, 2), np.float32)}, 2, "golden rows")
    labels = (Label(A, A), Label(B, "embedded"))
    deployment = Deployment(
        "http://127.0.0.1:8000", "127.0.0.1", 8000, "mnist", 2, labels, questions, {}, {"mnist.mar": "ab" * 32}
    )
    meter = _TellingMeter(5, {B: 1.3}, broken=frozenset({40}))
    direct = {Side.A: f"{A} direct", Side.B: f"{B} direct"} if given.direct else None
    names, wish = Names({Side.A: A, Side.B: B}, direct), Wish(1, given.slo_ms, given.rate)
    measured = await Runner(meter, names, SIZES, wish, lambda *_: None, asyncio.Event()).run()
    return make_result(given, deployment, SIZES, measured, (MACHINE, ("NVIDIA H200",), "2026-11-21T12:00:00", 101.5))
