"""`twinserve promote`, `rollback` and `route`: changes of what is live, through the gateway's operator API.

Their parameters are their flags, each with its help, which is what makes them long.
"""

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from twinserve.amounts import mirrored, percent_each, percent_of_all, rising, seconds, weights
from twinserve.client import CallError, GatewayClient, Unanswered
from twinserve.options import INTERRUPTED, UNREADABLE, Engine, Json, Url, fail, gateway

_POLL_S = 0.2
_STEP_NEWS_S = 5.0
_OUTAGE_S = 60.0
_ITS_OPTION = ("by naming it in `engines`", "by naming it with `--engines`")
"""A field of the promote's body, of which the gateway speaks, and what it is here."""

Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]


def version_number(text: str) -> int:
    """A version as it is written on the command line. Raises typer.BadParameter."""
    if not text.isdecimal() or not int(text):
        raise typer.BadParameter(f"{text!r} is no version: expected a number such as 3, `twinserve status` lists them")
    return int(text)


def promote(
    model: Model,
    version: Annotated[
        int,
        typer.Argument(
            parser=version_number,
            metavar="VERSION",
            help="The version to make live; `twinserve status` lists them.",
            show_default=False,
        ),
    ],
    keep: Annotated[int, typer.Option(min=0, help="Versions before it that stay loaded for a rollback.")] = 1,
    engines: Annotated[
        list[Engine] | None, typer.Option(help="Go live once these have it; default: both. May be given twice.")
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            help="Percentages of the traffic it answers on its way, rising: 1,10,50,100. Default: none. Each needs "
            "--min-samples requests from your clients; without traffic no step ends well."
        ),
    ] = None,
    hold: Annotated[str, typer.Option(help="How long each percentage is held at least: 30s, 5m.")] = "30s",
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of failures above the live version's that is still well.")
    ] = 0.01,
    max_p99_ratio: Annotated[
        float, typer.Option(min=1, help="One answer in 100 may take longer than this times the live version's p99.")
    ] = 3.0,
    min_samples: Annotated[
        int, typer.Option(min=20, help="Requests each --canary step needs before it is judged.")
    ] = 100,
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
            "canary": rising("--canary", canary) if canary is not None else [],
            "hold_s": seconds("--hold", hold),
            "max_error_rate": max_error_rate,
            "max_p99_ratio": max_p99_ratio,
            "min_samples": min_samples,
            "max_slowdown": max_slowdown,
            "load_timeout_s": seconds("--load-timeout", load_timeout),
        }
    except ValueError as error:
        fail(str(error), as_json, UNREADABLE)
    try:
        client = gateway(url)
        begun = client.promote(model, order)
    except (CallError, ValueError) as error:
        fail(str(error).replace(*_ITS_OPTION), as_json)
    _follow(client, begun, _Progress(model, min_samples), as_json)


def rollback(
    model: Model,
    keep: Annotated[int, typer.Option(min=0, help="Versions that stay loaded beside it.")] = 1,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Go back also when the last rollout has changed nothing.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Go back to the version that was live before, at once when it is loaded; or withdraw the one on its way.

    When the last rollout failed or was withdrawn there is nothing to undo, and it does nothing without --yes.
    """
    try:
        client = gateway(url)
        if not is_sure and (reason := _nothing_to_undo(client.model_state(model))):
            fail(reason, as_json)
        begun = client.roll_back(model, {"keep": keep})
    except (CallError, ValueError) as error:
        fail(str(error), as_json)
    _follow(client, begun, _Progress(model), as_json)


def _nothing_to_undo(state: Mapping[str, Any]) -> str:
    """Why a rollback would undo no rollout but go back further; empty when it would not, or nobody knows."""
    last, model, live = state["rollout"], state["model"], state["live"]
    if state["candidate"] is not None or last is None or state["previous"] is None:
        return ""
    has_failed = last["state"] == "failed"
    was_withdrawn = last["kind"] == "rollback" and not last["phases"]
    if not has_failed and not was_withdrawn:
        return ""
    version = last["version"] if has_failed else last["from_version"]
    return (
        f"nothing to undo: version {version} of {model} did not go live, version {live} is live as before. "
        f"To go back to version {state['previous']} all the same: twinserve rollback {model} --yes"
    )


def route(
    model: Model,
    shares: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Percentages of what clients leave open: torchserve=70,tfserving=30; any scale will do."
        ),
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
        order: dict[str, Any] = {}
        if shares is not None:
            order["weights"] = weights("--weights", shares)
        if mirror is not None:
            order["mirror"] = {name: share / 100 for name, share in mirrored("--mirror", mirror).items()}
    except ValueError as error:
        fail(str(error), as_json, UNREADABLE)
    try:
        client = gateway(url)
        state = client.set_routing(model, order) if order else client.model_state(model)
    except (CallError, ValueError) as error:
        fail(str(error), as_json)
    if as_json:
        typer.echo(json.dumps({"model": model, "routing": state["routing"], "mirror": state["mirror"]}, indent=2))
        return
    typer.echo(f"routing: {percent_of_all(state['routing'])}")
    typer.echo(f"mirror:  {percent_each(state['mirror']) or 'off'}")


def _follow(client: GatewayClient, begun: dict[str, Any], say: "_Progress", as_json: bool) -> None:
    """Say each phase as it comes, until the rollout ends; fail when it failed."""
    model = say.model
    try:
        with client:  # a connection for all questions: to make one each time, with its TLS, costs 20 ms of a core
            ended = _wait(client, begun, say)
    except CallError as error:
        fail(str(error), as_json)
    except KeyboardInterrupt:
        fail(f"not waiting any longer; `twinserve rollback {model}` withdraws it", as_json, INTERRUPTED)
    if ended["state"] == "failed":
        fail(f"version {ended['version']} of {model} did not go live: {ended['reason']}", as_json, beside=ended)
    if as_json:
        typer.echo(json.dumps(ended, indent=2))
        return
    phases = ", ".join(f"{name} {duration:.2f} s" for name, duration in ended["phases"].items())
    typer.echo(f"{model}: version {ended['version']} is live" + (f" ({phases})" if phases else ""))
    if ended["reason"]:
        typer.echo(f"{model}: {ended['reason']}")


def _wait(client: GatewayClient, begun: dict[str, Any], say: "_Progress") -> dict[str, Any]:
    """The rollout as it ended. A gateway that is away for a while is waited for: it may be restarting."""
    seen, answered_at = begun, time.monotonic()
    say.phase(seen)
    while seen["state"] == "running":
        time.sleep(_POLL_S)
        try:
            state = client.model_state(say.model)
            answered_at = time.monotonic()
        except Unanswered:
            if time.monotonic() - answered_at > _OUTAGE_S:
                raise
            continue
        current = state["rollout"]
        if current is None or current["id"] != seen["id"]:
            raise CallError(
                f"the rollout of version {begun['version']} was followed by another; see `twinserve status`"
            )
        seen = current
        say.phase(seen)
        say.requests(seen, state["versions"])
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
    """A line for each phase, and now and then for the requests of a canary's step, on stderr."""

    def __init__(self, model: str, min_samples: int = 0) -> None:
        self.model = model
        self._min_samples = min_samples
        self._last = ""
        self._before: int | None = None
        self._told_at = time.monotonic()

    def phase(self, rollout: dict[str, Any]) -> None:
        name = rollout["phase"]
        if rollout["state"] == "running" and name != self._last:
            typer.echo(f"{self.model}: {_PHASES.get(name, name)}", err=True)
            self._last, self._before, self._told_at = name, None, time.monotonic()

    def requests(self, rollout: dict[str, Any], versions: list[dict[str, Any]]) -> None:
        """How many requests the version on its way has answered in this step."""
        counted = [seen["ledger"] for seen in versions if seen["version"] == rollout["version"]]
        if rollout["state"] != "running" or not rollout["phase"].startswith("canary") or not counted:
            return
        finished = counted[0]["answered"] + counted[0]["failed"]
        if self._before is None:
            self._before = finished
        if time.monotonic() - self._told_at > _STEP_NEWS_S:
            came = f"{finished - self._before} requests so far, needs {self._min_samples}"
            typer.echo(f"{self.model}: {rollout['phase']}: {came}", err=True)
            self._told_at = time.monotonic()
