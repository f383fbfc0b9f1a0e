"""What operators see: the state of engines, gateway processes, models, versions and rollouts, as plain data."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.core.counts import Counts, Ledger, total
from gateway.core.errors import NotFound
from gateway.core.keeper import Keeper
from gateway.core.lifecycle import States, best_seen, engines_up
from gateway.core.mirror import Mirror
from gateway.core.ports import Peers, VersionState
from gateway.core.published import PublishedModel
from gateway.core.rollouts import Rollouts
from gateway.core.tensors import DATATYPES, Tensor, widen

NOT_MADE_FOR_IT = "not made for it"
"""The state of a version on an engine that cannot have it, as a model with strings on TorchServe."""


class PlatformState:
    """Describes the platform."""

    def __init__(
        self,
        keeper: Keeper,
        rollouts: Rollouts,
        peers: Peers,
        ledger: Ledger,
        read_memory: Callable[[], Mapping[str, int]],
        mirror: Mirror,
    ) -> None:
        self._keeper = keeper
        self._rollouts = rollouts
        self._peers = peers
        self._ledger = ledger
        self._read_memory = read_memory
        self._mirror = mirror

    def describe(self) -> dict[str, Any]:
        """Everything: engines, gateway processes, models."""
        memory = self._read_memory()
        return {
            "ready": self._keeper.is_ready,
            "engines": [self._describe_engine(engine, memory) for engine in self._keeper.engines],
            "gateways": sorted([self._peers.name, *self._peers.others()]),
            "models": [self.describe_model(model) for model in self._keeper.models],
        }

    def describe_model(self, name: str) -> dict[str, Any]:
        """One model, as the repository has it now. Raises NotFound."""
        self._keeper.look_at_repository()
        model = self._keeper.models.get(name)
        if model is None:
            raise NotFound(f"unknown model {name!r}: expected one of {sorted(self._keeper.models)}")
        counts = self._counts()
        problems = self._rollouts.problems(name)
        last = self._rollouts.last(name)
        return {
            "model": model.name,
            "live": model.live,
            "previous": model.previous,
            "kept": list(model.kept),
            "routing": dict(model.weights),
            "mirror": dict(model.mirror),
            "candidate": msgspec.to_builtins(model.candidate),
            "rollout": msgspec.to_builtins(last),
            "versions": [
                self._describe_version(model, version, counts, problems.get(version, ""))
                for version in sorted(model.versions)
            ],
        }

    def describe_mismatches(self, name: str) -> list[dict[str, Any]]:
        """The last answers of a model on which the engines disagreed, as this process saw them; oldest first."""
        return [
            {
                "at": seen.at,
                "version": seen.version,
                "answered_by": seen.answered_by,
                "mirrored_to": seen.mirrored_to,
                "problem": seen.problem,
                "inputs": _plain(seen.inputs),
                "answer": _plain(seen.answer),
                "copy": _plain(seen.copy),
            }
            for seen in self._mirror.mismatches
            if seen.model == name
        ]

    def _describe_engine(self, engine: str, memory: Mapping[str, int]) -> dict[str, Any]:
        """Of an engine of several endpoints, each of them too; rows wait in this process for it, or for its answer."""
        endpoints, observed = self._keeper.endpoints(engine), self._keeper.observed
        described: dict[str, Any] = {
            "engine": engine,
            "implementation": endpoints[0].implementation,
            "up": engine in engines_up(observed),
            "memory_bytes": memory.get(engine),
        }
        if len(endpoints) > 1:
            described["endpoints"] = [
                {
                    "endpoint": one.endpoint,
                    "up": one.endpoint in observed,
                    "outstanding_rows": self._keeper.outstanding_rows(one.endpoint),
                }
                for one in endpoints
            ]
        return described

    def _describe_version(
        self, model: PublishedModel, version: int, counts: Mapping[tuple[str, int], Counts], problem: str
    ) -> dict[str, Any]:
        counted = counts.get((model.name, version), Counts())
        return {
            "version": version,
            "engines": {
                engine: self._state_on_engine(engine, model, version, problem) for engine in self._keeper.engines
            },
            "ledger": {"accepted": counted.accepted, "answered": counted.answered, "failed": counted.failed},
        }

    def _state_on_engine(self, engine: str, model: PublishedModel, version: int, problem: str) -> dict[str, Any]:
        """The best that its endpoints made of it, and of several what each did."""
        names = [one.endpoint for one in self._keeper.endpoints(engine)]
        observed = {name: self._keeper.observed[name] for name in names if name in self._keeper.observed}
        best = best_seen(observed, model.name, version)
        states = {(model.name, version): best} if best else {}
        described: dict[str, Any] = self._state(states if observed else None, engine, model, version, problem)
        if len(names) > 1:
            described["endpoints"] = {
                name: self._state(observed.get(name), engine, model, version, problem, "endpoint") for name in names
            }
        return described

    def _state(
        self,
        states: States | None,
        engine: str,
        model: PublishedModel,
        version: int,
        problem: str,
        whose: str = "engine",
    ) -> dict[str, str]:
        """From the states on an engine or on an endpoint, None of one that is down."""
        if not model.is_for(version, engine):
            return {"state": NOT_MADE_FOR_IT, "reason": ""}
        if states is None:
            return {"state": "unknown", "reason": f"the {whose} is down"}
        is_wished = version in (model.live, *model.kept) or (model.candidate and model.candidate.version == version)
        if problem and not is_wished:
            return {"state": VersionState.ERROR.value, "reason": problem}
        seen = states.get((model.name, version))
        if seen is not None:
            return {"state": seen.state.value, "reason": seen.reason}
        return {"state": "not loaded", "reason": ""}

    def _counts(self) -> Mapping[tuple[str, int], Counts]:
        """The ledger of all gateway processes that live."""
        everywhere = [self._ledger.counts, *(report.counts for report in self._peers.others().values())]
        keys = {key for counts in everywhere for key in counts}
        return {key: total([counts[key] for counts in everywhere if key in counts]) for key in keys}


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tensors as the Open Inference Protocol writes them."""
    return {
        name: {"datatype": DATATYPES[tensor.dtype], "shape": list(tensor.shape), "data": _numbers(tensor)}
        for name, tensor in tensors.items()
    }


def _numbers(tensor: Tensor) -> list[Any]:
    """JSON has no NaN and no infinities: they become null. BF16 are numbers, BYTES text as far as they are UTF-8."""
    values: list[Any] = widen(tensor).ravel().tolist()
    values = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
