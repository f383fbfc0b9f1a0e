"""The platform's state as tables for people (`twinserve status`)."""

import textwrap
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from twinserve.amounts import percent_each, percent_of_all
from twinserve.child_life import State

_MEGABYTE = 1_000_000
_NOT_RUNNING = {State.WAITING.value, State.GAVE_UP.value}
_TOGETHER = "\u00a0"
"""A space at which textwrap breaks no line; Rich would."""


def print_processes(processes: list[dict[str, Any]]) -> None:
    """The children of `twinserve up`."""
    has_containers = any(child["container"] for child in processes)
    where = [Column("container", overflow="fold")] if has_containers else []
    table = Table("process", "state", "pid", "uptime", "restarts", *where, "last cause", box=None)
    for child in processes:
        pid, uptime = str(child["pid"]), str(timedelta(seconds=int(time.time() - child["started_at"])))
        if child["state"] in _NOT_RUNNING:
            pid, uptime = "-", "-"  # what is told is of the run that ended
        row = [child["name"], child["state"], pid, uptime, str(child["restarts"])]
        row += [child["container"] or ""] if has_containers else []
        table.add_row(*row, child["last_cause"] or "")
    console = Console()
    console.print(table)
    console.print()


def print_state(state: dict[str, Any]) -> None:
    """Engines and models, as GET /admin/models tells them."""
    console = Console()
    engines = Table("engine", "implementation", "up", "memory", box=None)
    for engine in state["engines"]:
        memory = engine["memory_bytes"]
        shown = f"{memory / _MEGABYTE:.0f} MB" if memory else ""
        engines.add_row(engine["engine"], engine["implementation"], "yes" if engine["up"] else "NO", shown)
    console.print(engines)
    _print_endpoints(console, state["engines"])
    for model in state["models"]:
        console.print()
        _print_model(console, model, [engine["engine"] for engine in state["engines"]])
    console.print()
    console.print("ready" if state["ready"] else "NOT READY")


def _print_endpoints(console: Console, engines: list[dict[str, Any]]) -> None:
    """Those of engines that have several; rows wait in the gateway process that was asked."""
    endpoints = [endpoint for engine in engines for endpoint in engine.get("endpoints", ())]
    if not endpoints:
        return
    table = Table("endpoint", "up", "rows waiting", box=None)
    for endpoint in endpoints:
        table.add_row(endpoint["endpoint"], "yes" if endpoint["up"] else "NO", str(endpoint["outstanding_rows"]))
    console.print()
    console.print(table)


def _print_model(console: Console, model: dict[str, Any], engines: list[str]) -> None:
    table = Table(model["model"], *engines, "answered", "failed", "", box=None)
    for version in model["versions"]:
        states = [version["engines"][name] for name in engines]
        counted = version["ledger"]
        table.add_row(
            f"version {version['version']}",
            *(seen["state"] for seen in states),
            str(counted["answered"]),
            str(counted["failed"]),
            _mark(model, version["version"]),
        )
    console.print(table)
    for line in _reasons(model, engines):
        console.print(line, highlight=False, soft_wrap=True)
    mirror = percent_each(model["mirror"])
    console.print(
        f"routing: {percent_of_all(model['routing'])}" + (f"; mirrored to {mirror}" if mirror else ""), highlight=False
    )
    if model["rollout"]:
        console.print(_rollout(model["rollout"], console.width), highlight=False, soft_wrap=True)


def _reasons(model: dict[str, Any], engines: list[str]) -> list[str]:
    """Why versions are not well, once for both engines where it is the same; and on which endpoints they differ."""
    lines = []
    for version in model["versions"]:
        lines += _differing(version, engines)
        by_reason: dict[str, list[str]] = {}
        for name in engines:
            if reason := version["engines"][name]["reason"]:
                by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            where = "" if len(names) == len(engines) else f" on {names[0]}"
            lines.append(f"version {version['version']}{where}: {reason}")
    return lines


def _differing(version: dict[str, Any], engines: list[str]) -> list[str]:
    """The endpoints on which a version is not what it is to their engine."""
    lines = []
    for name in engines:
        seen = version["engines"][name]
        for endpoint, there in seen.get("endpoints", {}).items():
            if there["state"] != seen["state"]:
                reason = f": {there['reason']}" if there["reason"] else ""
                lines.append(f"version {version['version']} on {endpoint}: {there['state']}{reason}")
    return lines


def _mark(model: dict[str, Any], version: int) -> str:
    candidate = model["candidate"]
    if version == model["live"]:
        return "live"
    if candidate and version == candidate["version"]:
        return f"candidate, answers {candidate['share']:.0%}"
    return "kept" if version in model["kept"] else ""


def _rollout(rollout: dict[str, Any], width: int) -> str:
    """In lines of so many characters, none of which ends between a number and its unit."""
    what = f"last {rollout['kind']}: {rollout['from_version']} to {rollout['version']}, {rollout['state']}"
    if rollout["state"] == "running":
        what += f", {rollout['phase']}"
    phases = [f"{name} {duration:.2f} s" for name, duration in rollout["phases"].items()]
    memory = [
        f"{engine} {before / _MEGABYTE:.0f} to {rollout['memory_after'].get(engine, 0) / _MEGABYTE:.0f} MB"
        for engine, before in rollout["memory_before"].items()
        if rollout["memory_after"]
    ]
    whole = [", ".join(piece.replace(" ", _TOGETHER) for piece in pieces) for pieces in (phases, memory)]
    told = "; ".join(part for part in (what, *whole, rollout["reason"]) if part)
    lines = textwrap.wrap(told, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(_TOGETHER, " ")
