"""A small model with two inputs, what a fake engine must do to add them, and the ports the core needs around it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from gateway.core.messages import EngineBatch, InferRequest
from gateway.core.ports import PeerReport, Using, VersionState
from gateway.core.published import Golden, PublishedModel, PublishedVersion, Rollout
from gateway.core.tensors import Signature, Tensor, TensorSpec

ADDER = Signature(
    inputs=(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "FP32", (-1, 2))),
    outputs=(TensorSpec("sum", "FP32", (-1, 2)),),
)


class LedgerEvents:
    """Counts what the core reports."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.batch_rows: list[int] = []
        self.states: dict[tuple[str, int, str], VersionState | None] = {}
        self.endpoints: dict[str, bool] = {}

    def accepted(self, model: str, version: int) -> None:
        self.counts["accepted"] += 1

    def answered(self, model: str, version: int) -> None:
        self.counts["answered"] += 1

    def failed(self, model: str, version: int) -> None:
        self.counts["failed"] += 1

    def batch_done(self, engine: str, model: str, version: int, rows: int) -> None:
        self.batch_rows.append(rows)

    def in_flight_changed(self, endpoint: str, requests: int) -> None:
        self.counts["in_flight"] += requests

    def queue_changed(self, engine: str, rows: int) -> None:
        self.counts["queue"] += rows

    def engine_seen(self, engine: str, implementation: str, is_up: bool) -> None:
        self.counts[f"{engine} {'up' if is_up else 'down'}"] += 1

    def endpoint_seen(self, endpoint: str, is_up: bool) -> None:
        self.endpoints[endpoint] = is_up

    def endpoint_left(self, endpoint: str) -> None:
        self.endpoints.pop(endpoint, None)

    def version_seen(self, model: str, version: int, engine: str, state: VersionState | None) -> None:
        self.states[model, version, engine] = state

    def mirrored(self, model: str, version: int, result: str, max_abs_diff: float | None) -> None:
        self.counts[f"mirror {result}"] += 1

    def swap_phase_done(self, model: str, phase: str, seconds: float) -> None:
        self.counts[f"phase {phase}"] += 1

    def assert_balanced(self) -> None:
        assert self.counts["accepted"] == self.counts["answered"] + self.counts["failed"]
        assert self.counts["in_flight"] == 0
        assert self.counts["queue"] == 0


class MemoryRepository:
    """Implements the Repository port on values that tests replace."""

    def __init__(self, *models: PublishedModel) -> None:
        self.models = models
        self.golden: Golden | None = None
        self.damage: dict[int, str] = {}
        self.recorded: dict[str, Rollout] = {}

    async def find_damage(self, model: str, version: int) -> str:
        return self.damage.get(version, "")

    async def read_golden(self, model: str, version: int) -> Golden | None:
        return self.golden

    async def change(self, model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        self.models = tuple(change(known) if known.name == model else known for known in self.models)

    async def record(self, model: str, rollout: Rollout) -> None:
        self.recorded[rollout.id] = rollout

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        return tuple(self.recorded.values())

    def scan(self) -> Mapping[str, PublishedModel]:
        return {model.name: model for model in self.models}


class MemoryPeers:
    """Implements the Peers port: this process leads, and `reports` is what the others tell."""

    name = "here"

    def __init__(self) -> None:
        self.is_leader = True
        self.reports: dict[str, PeerReport] = {}
        self.told: Using = {}
        self.left: list[str] = []

    def lead(self, what: str) -> bool:
        return self.is_leader

    def stop_leading(self, what: str) -> None:
        self.left.append(what)

    def tell(self, report: PeerReport) -> None:
        self.told = report.using

    def others(self) -> Mapping[str, PeerReport]:
        return self.reports


def add(batch: EngineBatch) -> Mapping[str, Tensor]:
    return {"sum": batch.inputs["a"] + batch.inputs["b"]}


def published(
    live: int = 2, versions: tuple[int, ...] = (1, 2), kept: tuple[int, ...] = (1,), **weights: float
) -> PublishedModel:
    return PublishedModel(
        name="adder",
        live=live,
        weights=weights or {"torchserve": 0.5, "tfserving": 0.5},
        versions={version: PublishedVersion(version, ADDER, None) for version in versions},
        kept=kept,
    )


def numbers(rows: int, value: float = 1.0) -> dict[str, Tensor]:
    return {"a": np.full((rows, 2), value, np.float32), "b": np.full((rows, 2), value, np.float32)}


def ask(
    rows: int = 1, value: float = 1.0, timeout_s: float = 30.0, version: int = 2, engine: str | None = None
) -> InferRequest:
    """A request for a version of the adder; call it inside a running loop."""
    return InferRequest(
        model="adder",
        version=version,
        inputs=numbers(rows, value),
        deadline=asyncio.get_running_loop().time() + timeout_s,
        engine=engine,
    )
