"""When an engine that has grown is replaced: a pure table from what was measured to one order.

Rules: one engine at a time, and only while another answers with every live version. An engine is over its limit when
so many measurements on end say so. It is not replaced again at once: the pause doubles each time, so that a limit below
what an engine needs costs little. Knows no process, no file and no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MEGABYTE = 1_000_000
GIBIBYTE = 2**30
BOTH_LIMITS = "TWINSERVE_ENGINE_MEMORY_LIMIT_MB"


@dataclass(frozen=True)
class GuardLimits:
    """Seconds and bytes. `given_bytes`: an engine's limit, 0 for none; without one it follows from the baseline.

    The engines are measured every `interval_s` at most.
    """

    given_bytes: Mapping[str, int] = field(default_factory=dict)
    interval_s: float = 2.0
    baseline_s: float = 30.0
    times_over: int = 3
    settled_s: float = 10.0
    pause_s: float = 60.0
    longest_pause_s: float = 3600.0


@dataclass(frozen=True)
class GatewayWord:
    """`serving`: engines that answer with the live version of every model. `is_loading`: a rollout needs them all."""

    serving: frozenset[str]
    is_loading: bool


@dataclass(frozen=True)
class Seen:
    """An engine at one measurement. `ready_s`: how long it has been ready, None when it is not."""

    pid: int
    ready_s: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Record:
    """What is remembered of an engine; `baseline_bytes` and `times_over` are of the process with this pid."""

    pid: int
    baseline_bytes: int | None = None
    times_over: int = 0
    replaced_at: float | None = None
    replaced_in_a_row: int = 0


@dataclass(frozen=True)
class Replace:
    """Replace this engine."""

    engine: str
    cause: str


@dataclass(frozen=True)
class Wait:
    """This engine is to be replaced, but not now."""

    engine: str
    cause: str
    why: str


Records = Mapping[str, Record]


def limits_from(environment: Mapping[str, str], engines: tuple[str, ...]) -> GuardLimits:
    """The limits that the variables give, one engine's before that of both. Raises ValueError naming the variable."""
    given = {}
    for engine in engines:
        for name in (f"TWINSERVE_{engine.upper()}_MEMORY_LIMIT_MB", BOTH_LIMITS):
            text = environment.get(name)
            if not text:
                continue
            if not text.isdecimal():
                raise ValueError(f"{name}={text!r} is not a number of megabytes (0 for no limit)")
            given[engine] = int(text) * MEGABYTE
            break
    return GuardLimits(given)


def limit_bytes(engine: str, record: Record, limits: GuardLimits) -> int | None:
    """How much an engine may take; None while there is no limit."""
    if engine in limits.given_bytes:
        return limits.given_bytes[engine] or None
    if record.baseline_bytes is None:
        return None
    return max(2 * record.baseline_bytes, record.baseline_bytes + GIBIBYTE)


def noted(records: Records, engines: Mapping[str, Seen], limits: GuardLimits) -> Records:
    """The records after one more measurement of every engine."""
    return {name: _noted(name, records.get(name), seen, limits) for name, seen in engines.items()}


def replaced(records: Records, engine: str, now: float, limits: GuardLimits) -> Records:
    """The records after an engine was replaced."""
    record = records[engine]
    lasted_s = now - record.replaced_at if record.replaced_at is not None else None
    is_soon = lasted_s is not None and lasted_s < 2 * pause_s(record, limits)
    row = record.replaced_in_a_row + 1 if is_soon else 1
    return {**records, engine: Record(record.pid, replaced_at=now, replaced_in_a_row=row)}


def pause_s(record: Record, limits: GuardLimits) -> float:
    """How long after its last replacement an engine is left alone."""
    return min(limits.pause_s * 2.0 ** max(0, record.replaced_in_a_row - 1), limits.longest_pause_s)


def has_suspects(records: Records) -> bool:
    """Whether any engine was over its limit when last measured."""
    return any(record.times_over for record in records.values())


def next_order(
    records: Records, engines: Mapping[str, Seen], word: GatewayWord | None, now: float, limits: GuardLimits
) -> Replace | Wait | None:
    """Decide. `word`: what the gateway said just now, None without a word of it."""
    over = [name for name, record in records.items() if record.times_over >= limits.times_over]
    over.sort(key=lambda name: _excess(name, records[name], engines[name], limits), reverse=True)
    orders: list[Replace | Wait] = []
    for name in over:
        cause = _cause(name, records[name], engines[name], limits)
        why = _obstacle(name, records, engines, word, now, limits)
        orders.append(Wait(name, cause, why) if why else Replace(name, cause))
    orders.sort(key=lambda order: isinstance(order, Wait))  # stable: among those that can be, the worst
    return orders[0] if orders else None


def _noted(name: str, before: Record | None, seen: Seen, limits: GuardLimits) -> Record:
    if before is None:
        record = Record(seen.pid)
    elif before.pid != seen.pid:
        record = replace(before, pid=seen.pid, baseline_bytes=None, times_over=0)
    else:
        record = before
    if seen.ready_s is None or seen.memory_bytes is None:
        return replace(record, times_over=0)
    if record.baseline_bytes is None and seen.ready_s >= limits.baseline_s:
        record = replace(record, baseline_bytes=seen.memory_bytes)
    limit = limit_bytes(name, record, limits)
    is_over = limit is not None and seen.memory_bytes > limit
    return replace(record, times_over=record.times_over + 1 if is_over else 0)


def _obstacle(
    name: str,
    records: Records,
    engines: Mapping[str, Seen],
    word: GatewayWord | None,
    now: float,
    limits: GuardLimits,
) -> str:
    """Why an engine cannot be replaced now; "" when it can."""
    others = [other for other in engines if other != name]
    unsettled = [other for other in others if (engines[other].ready_s or 0) < limits.settled_s]
    pause = pause_s(records[name], limits)
    since_s = {other: now - record.replaced_at for other, record in records.items() if record.replaced_at is not None}
    if since_s.get(name, pause) < pause:
        return f"it was replaced less than {pause:g} s ago"
    if (engines[name].ready_s or 0) < limits.settled_s:
        return "it has only just come up"
    if min(since_s.values(), default=limits.pause_s) < limits.pause_s:
        return f"another was replaced less than {limits.pause_s:g} s ago"
    if not others:
        return "there is no other engine"
    if unsettled:
        return f"{' and '.join(unsettled)} has not been up for {limits.settled_s:g} s"
    if word is None:
        return "the gateway does not say who could answer meanwhile"
    silent = [other for other in others if other not in word.serving]
    if silent:
        return f"{' and '.join(silent)} does not answer with every live version"
    return "a version is being loaded" if word.is_loading else ""


def _excess(name: str, record: Record, seen: Seen, limits: GuardLimits) -> float:
    limit = limit_bytes(name, record, limits)
    return (seen.memory_bytes or 0) / limit if limit else 0.0


def _cause(name: str, record: Record, seen: Seen, limits: GuardLimits) -> str:
    taken, limit = seen.memory_bytes or 0, limit_bytes(name, record, limits) or 0
    return f"it took {taken / MEGABYTE:.0f} MB, more than its limit of {limit / MEGABYTE:.0f} MB"
