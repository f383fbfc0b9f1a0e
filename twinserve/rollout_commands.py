"""`twinserve promote`, `rollback` and `route`: changes of what is live, through the gateway's operator API."""

import json
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from twinserve.client import CallError, GatewayClient, Unanswered
from twinserve.options import Engine, Json, Url, fail, gateway

_POLL_S = 0.2
_OUTAGE_S = 60.0
_INTERRUPTED = 130

Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]


def promote(
    model: Model,
    version: Annotated[int, typer.Argument(min=1, help="The version to make live.", show_default=False)],
    keep: Annotated[int, typer.Option(min=0, help="Versions before it that stay loaded for a rollback.")] = 1,
    engines: Annotated[
        list[Engine] | None, typer.Option(help="Go live once these have it; default: both. May be given twice.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option(help="Percentages it answers on its way, rising: 1,10,50,100. Default: none.")
    ] = None,
    hold: Annotated[str, typer.Option(help="How long each percentage is held at least: 30s, 5m.")] = "30s",
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of failures above the live version's that is still well.")
    ] = 0.01,
    max_p99_ratio: Annotated[
        float, typer.Option(min=1, help="One answer in 100 may take longer than this times the live version's p99.")
    ] = 3.0,
    min_samples: Annotated[int, typer.Option(min=20, help="Requests a step needs before it is judged.")] = 100,
    max_slowdown: Annotated[
        float,
        typer.Option(min=1, help="Refused, before any client sees it, when one batch takes this times longer."),
    ] = 5.0,
    load_timeout: Annotated[str, typer.Option(help="How long loading may take.")] = "180s",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make VERSION of MODEL live on both engines, without losing a request.

    It is loaded beside the live version, warmed, its answers compared with those it was published with, its speed with
    the live version's; then it goes live at once, or through --canary steps, each judged against the live version. When
    anything is wrong the live version stays as it is, and the command says why and fails.
    """
    try:
        order: dict[str, Any] = {
            "version": version,
            "keep": keep,
            "engines": [str(engine) for engine in engines] if engines else None,
            "canary": [float(part) for part in canary.split(",")] if canary else [],
            "hold_s": seconds(hold),
            "max_error_rate": max_error_rate,
            "max_p99_ratio": max_p99_ratio,
            "min_samples": min_samples,
            "max_slowdown": max_slowdown,
            "load_timeout_s": seconds(load_timeout),
        }
        client = gateway(url)
        begun = client.promote(model, order)
    except (CallError, ValueError) as error:
        fail(str(error))
    _follow(client, model, begun, as_json)


def rollback(
    model: Model,
    keep: Annotated[int, typer.Option(min=0, help="Versions that stay loaded beside it.")] = 1,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Go back to the version that was live before, at once when it is loaded; or withdraw the one on its way."""
    try:
        client = gateway(url)
        begun = client.roll_back(model, {"keep": keep})
    except (CallError, ValueError) as error:
        fail(str(error))
    _follow(client, model, begun, as_json)


def route(
    model: Model,
    weights: Annotated[
        str | None, typer.Option(help="Shares of what clients leave open: torchserve=70,tfserving=30.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Percentage of answers an engine is asked for again, to compare: tfserving=10.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Share the traffic of MODEL among the engines, and copy some of it to the other one for comparison.

    Without options it shows how things are. --mirror tfserving=0 ends mirroring.
    """
    try:
        client = gateway(url)
        order: dict[str, Any] = {}
        if weights is not None:
            order["weights"] = shares(weights)
        if mirror is not None:
            order["mirror"] = {name: share / 100 for name, share in shares(mirror).items()}
        state = client.set_routing(model, order) if order else client.model_state(model)
    except (CallError, ValueError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"model": model, "routing": state["routing"], "mirror": state["mirror"]}, indent=2))
        return
    typer.echo("routing: " + ", ".join(f"{name} {weight:g}" for name, weight in state["routing"].items()))
    mirrored = ", ".join(f"{name} {share:.0%}" for name, share in state["mirror"].items())
    typer.echo(f"mirror:  {mirrored or 'off'}")


def _follow(client: GatewayClient, model: str, begun: dict[str, Any], as_json: bool) -> None:
    """Say each phase as it comes, until the rollout ends; fail when it failed."""
    say = _Progress(model, is_quiet=as_json)
    try:
        ended = _wait(client, model, begun, say)
    except CallError as error:
        fail(str(error))
    except KeyboardInterrupt:
        typer.echo(f"twinserve: not waiting any longer; `twinserve rollback {model}` withdraws it", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(ended, indent=2))
    if ended["state"] == "failed":
        fail(f"version {ended['version']} of {model} did not go live: {ended['reason']}")
    if not as_json:
        phases = ", ".join(f"{name} {duration:.2f} s" for name, duration in ended["phases"].items())
        typer.echo(f"{model}: version {ended['version']} is live" + (f" ({phases})" if phases else ""))
        if ended["reason"]:
            typer.echo(f"{model}: {ended['reason']}")


def _wait(client: GatewayClient, model: str, begun: dict[str, Any], say: "_Progress") -> dict[str, Any]:
    """The rollout as it ended. A gateway that is away for a while is waited for: it may be restarting."""
    seen, answered_at = begun, time.monotonic()
    while seen["state"] == "running":
        say.phase(seen["phase"])
        time.sleep(_POLL_S)
        try:
            current = client.model_state(model)["rollout"]
            answered_at = time.monotonic()
        except Unanswered:
            if time.monotonic() - answered_at > _OUTAGE_S:
                raise
            continue
        if current is None or current["id"] != seen["id"]:
            raise CallError(
                f"the rollout of version {begun['version']} was followed by another; see `twinserve status`"
            )
        seen = current
    return seen


_PHASES = {
    "load": "loading it beside the live version",
    "warm": "warming it with its golden inputs",
    "compare": "comparing its speed with the live version's",
    "flip": "going live",
    "drain": "waiting for the last requests of the version before",
    "unload": "unloading the version before",
}


class _Progress:
    """A line for each phase, on stderr: what is asked for goes to stdout."""

    def __init__(self, model: str, is_quiet: bool) -> None:
        self._model = model
        self._is_quiet = is_quiet
        self._last = ""

    def phase(self, name: str) -> None:
        if name != self._last and not self._is_quiet:
            typer.echo(f"{self._model}: {_PHASES.get(name, name)}", err=True)
        self._last = name


def seconds(text: str) -> float:
    """A duration as people write it: 30s, 500ms, 5m, 1h, or a plain number of seconds. Raises ValueError."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, factor in units.items():
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    if text.replace(".", "", 1).isdigit():
        return float(text)
    raise ValueError(f"{text!r} is no duration: expected something like 30s, 500ms or 5m")


def shares(text: str) -> dict[str, float]:
    """Numbers by engine, from "torchserve=70,tfserving=30". Raises ValueError."""
    found: dict[str, float] = {}
    parts: Sequence[str] = text.split(",")
    for part in parts:
        name, equals, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ValueError(f"{part!r} is no share: expected something like torchserve=70")
    return found
