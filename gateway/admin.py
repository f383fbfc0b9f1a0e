"""The routes under /admin: what operators see and do, behind a bearer token."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.canary import CanaryLimits
from gateway.core.plan import Plan
from gateway.core.published import Rollout
from gateway.core.rollouts import Rollouts
from gateway.platform_state import PlatformState
from gateway.protocols.operators import Operators
from gateway.protocols.orders import read_order

_FAILED = 409

Positive = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class PromoteOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a promote. `canary` in percent; durations in seconds."""

    version: Annotated[int, msgspec.Meta(gt=0)]
    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    engines: tuple[str, ...] | None = None
    canary: tuple[Annotated[float, msgspec.Meta(gt=0, le=100)], ...] = ()
    hold_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 30.0
    max_error_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    max_p99_ratio: Annotated[float, msgspec.Meta(ge=1)] = 3.0
    min_samples: Annotated[int, msgspec.Meta(ge=20)] = 100
    max_slowdown: Annotated[float, msgspec.Meta(ge=1)] = 5.0
    load_timeout_s: Positive = 180.0

    def to_plan(self) -> Plan:
        """The plan that this orders."""
        return Plan(
            version=self.version,
            keep=self.keep,
            engines=self.engines or None,
            canary=tuple(percent / 100 for percent in self.canary),
            hold_s=self.hold_s,
            limits=CanaryLimits(self.max_error_rate, self.max_p99_ratio, self.min_samples),
            max_slowdown=self.max_slowdown,
            load_timeout_s=self.load_timeout_s,
        )


class RollbackOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a rollback, which may be empty."""

    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1


class RoutingOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a change of routing: weights of any scale, mirrored shares from 0 to 1; what is left out stays."""

    weights: dict[str, float] | None = None
    mirror: dict[str, float] | None = None


def make_router(state: PlatformState, rollouts: Rollouts, operators: Operators) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/admin", tags=["Operators"], dependencies=[Depends(operators.check)])

    @routes.get("/models", summary="All engines, gateway processes and models")
    async def show_all() -> dict[str, Any]:
        return state.describe()

    @routes.get("/models/{model}", summary="One model: its versions, which is live, and the last rollout")
    async def show_model(model: str) -> dict[str, Any]:
        return state.describe_model(model)

    @routes.post("/models/{model}/promote", summary="Make a version live", openapi_extra=_body(PromoteOrder))
    async def promote(request: Request, model: str, wait: bool = False) -> Response:
        order = await read_order(request, PromoteOrder)
        begun = await rollouts.promote(model, order.to_plan())
        return _answer(model, await rollouts.wait(model, begun) if wait else begun)

    @routes.post(
        "/models/{model}/rollback", summary="Go back to the version before", openapi_extra=_body(RollbackOrder)
    )
    async def roll_back(request: Request, model: str, wait: bool = False) -> Response:
        order = await read_order(request, RollbackOrder)
        begun = await rollouts.roll_back(model, order.keep)
        return _answer(model, await rollouts.wait(model, begun) if wait else begun)

    @routes.get("/models/{model}/mirror", summary="The last mirrored answers on which the engines disagreed")
    async def show_mismatches(model: str) -> dict[str, Any]:
        state.describe_model(model)
        return {"model": model, "mismatches": state.describe_mismatches(model)}

    @routes.put("/models/{model}/routing", summary="Share traffic among engines", openapi_extra=_body(RoutingOrder))
    async def route(request: Request, model: str) -> dict[str, Any]:
        order = await read_order(request, RoutingOrder)
        await rollouts.set_routing(model, order.weights, order.mirror)
        return state.describe_model(model)

    return routes


def _answer(model: str, rollout: Rollout) -> Response:
    """202 while it runs, 200 when it went well, 409 with the reason when it did not."""
    status = {"running": 202, "done": 200, "failed": _FAILED}[rollout.state]
    document = {"model": model, **msgspec.to_builtins(rollout)}
    if rollout.state == "failed":
        document["error"] = f"version {rollout.version} of {model} did not go live: {rollout.reason}"
    return Response(msgspec.json.encode(document), status, {"Content-Type": "application/json"})


def _body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind])
    return {"requestBody": {"content": {"application/json": {"schema": components[kind.__name__]}}}} if schema else {}
