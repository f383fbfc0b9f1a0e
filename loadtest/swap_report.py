"""What a run of swaps showed: every request's fate, the ledger beside our own count, and latency inside and outside.

Pure: it is made from outcomes, swaps and ledgers that others brought.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from loadtest.admin import Ledger
from loadtest.latencies import Block, Quantiles, Ratio, Seconds, compare_blocks
from loadtest.open_loop import Fate, Outcome

MARGIN_S = 0.1
"""A request is inside a swap when it was due within its call or this long before or after: it may meet the change."""

WARM_UP_S = 1.0
"""Latencies of the first second are left out: connections are being opened. Its answers count like all others."""

_SHOWN_FAULTS = 10


@dataclass(frozen=True)
class Swap:
    """One promote or rollback, timed around its call by the event loop's clock. `fault` is empty when it was done."""

    kind: str
    from_version: int
    version: int
    started_at: float
    ended_at: float
    fault: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """All that a run saw. `started_at` is when the load began; ledgers are by version, before and after."""

    started_at: float
    outcomes: Sequence[Outcome]
    swaps: Sequence[Swap]
    before: Mapping[int, Ledger]
    after: Mapping[int, Ledger]
    is_interrupted: bool = False


class SwapLine(msgspec.Struct, frozen=True):
    """One swap, and the latencies of the requests inside it."""

    kind: str
    from_version: int
    version: int
    seconds: float
    fault: str
    phases: Mapping[str, float]
    latency: Quantiles


class Spread(msgspec.Struct, frozen=True):
    """Seconds over all swaps."""

    median_s: float
    max_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        return cls(float(np.median(seconds)), max(seconds))


class SwapReport(msgspec.Struct, frozen=True, kw_only=True):
    """offered = answered + failed + lost + not sent; wrong answers are among the answered.

    `stale` answers are right, but of a version that was no longer live when the request was due, after the swap's call
    had returned. `lag` is how late this process sent requests: part of every latency, and none of the gateway's doing.
    """

    is_good: bool
    is_interrupted: bool
    offered: int
    answered: int
    failed: dict[str, int]
    lost: int
    not_sent: int
    wrong: int
    stale: int
    faults: list[str]
    by_version: dict[str, int]
    by_engine: dict[str, int]
    ledger: dict[str, Ledger]
    ledger_fault: str
    lag: Quantiles
    inside: Quantiles
    outside: Quantiles
    ratio_p50: Ratio
    ratio_p99: Ratio
    swap_seconds: dict[str, Spread]
    phase_seconds: dict[str, Spread]
    swaps: list[SwapLine]

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    @property
    def failed_swaps(self) -> int:
        return sum(bool(swap.fault) for swap in self.swaps)


def find_ledger_fault(before: Mapping[int, Ledger], after: Mapping[int, Ledger], outcomes: Sequence[Outcome]) -> str:
    """Where the gateway's ledger and our own count of the same requests differ; empty when they agree.

    Lost answers leave room: the gateway may have answered, failed or never seen each of them. A refusal before a
    request is accepted (queue full) is in no ledger.
    """
    seen = Counter(outcome.version for outcome in outcomes if outcome.fate is Fate.ANSWERED)
    lost = sum(outcome.fate is Fate.LOST for outcome in outcomes)
    failed = sum(outcome.fate is Fate.FAILED for outcome in outcomes)
    delta = _since(before, after)
    for version, ledger in delta.items():
        if ledger.accepted != ledger.answered + ledger.failed:
            return (
                f"version {version}: accepted {ledger.accepted}, "
                f"but answered {ledger.answered} and failed {ledger.failed}"
            )
        counted = seen.pop(str(version), 0)
        if not counted <= ledger.answered <= counted + lost:
            return f"version {version}: the gateway answered {ledger.answered}, {counted} answers arrived"
    if seen:
        return f"answers of versions without a ledger: {dict(seen)}"
    failures = sum(ledger.failed for ledger in delta.values())
    if failures > failed + lost:
        return f"the gateway failed {failures}, {failed} failures arrived"
    return ""


def make_report(observed: Observed) -> SwapReport:
    """Sum up a run."""
    outcomes, swaps = observed.outcomes, observed.swaps
    fates = Counter(outcome.fate for outcome in outcomes)
    answered = [outcome for outcome in outcomes if outcome.fate is Fate.ANSWERED]
    wrong = sum(outcome.is_wrong for outcome in answered)
    ledger_fault = find_ledger_fault(observed.before, observed.after, outcomes)
    faults = Counter(f"{outcome.fate}: {outcome.fault}" for outcome in outcomes if outcome.fault)
    blocks = _blocks(observed, answered)
    ratio_p50, ratio_p99 = compare_blocks(blocks)
    phases = {
        name: [swap.phases[name] for swap in swaps if name in swap.phases] for swap in swaps for name in swap.phases
    }
    kinds = {swap.kind: [s.ended_at - s.started_at for s in swaps if s.kind == swap.kind] for swap in swaps}
    is_whole = len(answered) == len(outcomes) > 0 and not wrong and not ledger_fault
    return SwapReport(
        is_good=is_whole and bool(swaps) and not any(swap.fault for swap in swaps) and not observed.is_interrupted,
        is_interrupted=observed.is_interrupted,
        offered=len(outcomes),
        answered=len(answered),
        failed={str(s): n for s, n in Counter(o.status for o in outcomes if o.fate is Fate.FAILED).items()},
        lost=fates[Fate.LOST],
        not_sent=fates[Fate.NOT_SENT],
        wrong=wrong,
        stale=_count_stale(answered, swaps),
        faults=[f"{count} x {fault}" for fault, count in faults.most_common(_SHOWN_FAULTS)],
        by_version=dict(Counter(outcome.version for outcome in answered)),
        by_engine=dict(Counter(outcome.engine for outcome in answered)),
        ledger={str(v): ledger for v, ledger in _since(observed.before, observed.after).items()},
        ledger_fault=ledger_fault,
        lag=Quantiles.of(np.array([outcome.lag_s for outcome in outcomes])),
        inside=Quantiles.of(_joined([block.inside_s for block in blocks])),
        outside=Quantiles.of(_joined([block.outside_s for block in blocks])),
        ratio_p50=ratio_p50,
        ratio_p99=ratio_p99,
        swap_seconds={kind: Spread.of(seconds) for kind, seconds in kinds.items()},
        phase_seconds={name: Spread.of(seconds) for name, seconds in phases.items()},
        swaps=[_line(swap, block) for swap, block in zip(swaps, blocks, strict=True)],
    )


def _line(swap: Swap, block: Block) -> SwapLine:
    return SwapLine(
        kind=swap.kind,
        from_version=swap.from_version,
        version=swap.version,
        seconds=swap.ended_at - swap.started_at,
        fault=swap.fault,
        phases=swap.phases,
        latency=Quantiles.of(block.inside_s),
    )


def _blocks(observed: Observed, answered: Sequence[Outcome]) -> list[Block]:
    """One block a swap; what came before the first swap is outside with the first."""
    due_at = np.array([outcome.due_at for outcome in answered])
    latencies_s = np.array([outcome.latency_s for outcome in answered])
    begins = np.array([swap.started_at - MARGIN_S for swap in observed.swaps])
    ends = np.array([swap.ended_at + MARGIN_S for swap in observed.swaps])
    # The swap that began last before a request; a request within an earlier one's margin too counts for the later.
    owner = np.searchsorted(begins, due_at, side="right") - 1
    is_warm = due_at >= observed.started_at + WARM_UP_S
    blocks = []
    for index, end in enumerate(ends):
        is_inside = is_warm & (owner == index) & (due_at <= end)
        is_outside = is_warm & (np.maximum(owner, 0) == index) & ~is_inside
        blocks.append(Block(latencies_s[is_inside], latencies_s[is_outside]))
    return blocks


def _count_stale(answered: Sequence[Outcome], swaps: Sequence[Swap]) -> int:
    """Answers of another version than the live one, to requests due after one swap and ended before the next began."""
    due_at = np.array([outcome.due_at for outcome in answered])
    ended_at = np.array([outcome.ended_at for outcome in answered])
    versions = np.array([outcome.version for outcome in answered])
    stale = 0
    for index, swap in enumerate(swaps):
        until = swaps[index + 1].started_at if index + 1 < len(swaps) else np.inf
        if not swap.fault:
            is_between = (due_at > swap.ended_at) & (ended_at < until)
            stale += int((versions[is_between] != str(swap.version)).sum())
    return stale


def _joined(parts: Sequence[Seconds]) -> Seconds:
    return np.concatenate(parts) if parts else np.empty(0)


def _since(before: Mapping[int, Ledger], after: Mapping[int, Ledger]) -> dict[int, Ledger]:
    return {version: ledger.since(before.get(version, Ledger())) for version, ledger in sorted(after.items())}
