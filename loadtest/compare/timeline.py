"""How requests fared while versions changed places: windows of 100 ms, by when requests were due. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from loadtest.open_loop import Fate, Outcome
from loadtest.swap_report import Observed, Swap, SwapReport, make_report

WINDOW_S = 0.1


class Window(msgspec.Struct, frozen=True):
    """Requests that were due within WINDOW_S from `from_s`, in seconds since the load began.

    Latencies are of those answered, from when they were due; None where none was. `errors` were refused, lost, not sent
    or answered wrongly. `answers`: by version.
    """

    from_s: float
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    answers: Mapping[str, int]


class Change(msgspec.Struct, frozen=True):
    """One promote, in seconds since the load began. `flip_s`: when the first answer of the new version came.

    `fault` is empty when it was done; `phases` is the gateway's own record, in seconds.
    """

    from_version: int
    version: int
    began_s: float
    ended_s: float
    flip_s: float | None
    fault: str
    phases: Mapping[str, float]


class SwapTimeline(msgspec.Struct, frozen=True):
    """Versions changing places under load. `report` accounts for every request.

    `put_back_fault` says why the model is not as it was found, live and kept; empty when it is.
    """

    window_s: float
    rate_per_s: float
    found_version: int
    put_back_fault: str
    changes: tuple[Change, ...]
    windows: tuple[Window, ...]
    errors: int
    report: SwapReport

    @property
    def versions(self) -> tuple[str, ...]:
        """All that answered, in order."""
        return tuple(sorted({version for window in self.windows for version in window.answers}, key=_by_number))


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), version) if version.isdecimal() else (0, version)


def make_timeline(observed: Observed, rate_per_s: float, found_version: int, put_back_fault: str) -> SwapTimeline:
    """Cut a run into windows, from the load's begin to the last request."""
    by_window: defaultdict[int, list[Outcome]] = defaultdict(list)
    for outcome in observed.outcomes:
        by_window[max(0, int((outcome.due_at - observed.started_at) / WINDOW_S))].append(outcome)
    windows = tuple(_window(number, by_window[number]) for number in range(max(by_window, default=-1) + 1))
    return SwapTimeline(
        window_s=WINDOW_S,
        rate_per_s=rate_per_s,
        found_version=found_version,
        put_back_fault=put_back_fault,
        changes=tuple(_change(swap, index, observed) for index, swap in enumerate(observed.swaps)),
        windows=windows,
        errors=sum(window.errors for window in windows),
        report=make_report(observed),
    )


def _window(number: int, outcomes: Sequence[Outcome]) -> Window:
    answered = [outcome for outcome in outcomes if outcome.fate is Fate.ANSWERED]
    latencies_ms = [1000 * outcome.latency_s for outcome in answered]
    p50, p99 = (float(value) for value in np.quantile(latencies_ms, (0.5, 0.99))) if answered else (None, None)
    return Window(
        from_s=round(number * WINDOW_S, 3),
        requests=len(outcomes),
        errors=len(outcomes) - sum(not outcome.is_wrong for outcome in answered),
        p50_ms=p50,
        p99_ms=p99,
        answers=dict(sorted(Counter(outcome.version for outcome in answered).items())),
    )


def _change(swap: Swap, index: int, observed: Observed) -> Change:
    later = observed.swaps[index + 1 :]
    until = later[0].started_at if later else np.inf
    of_new = (
        outcome.ended_at
        for outcome in observed.outcomes
        if outcome.version == str(swap.version) and swap.started_at <= outcome.ended_at < until
    )
    flipped_at = min(of_new, default=None)
    return Change(
        from_version=swap.from_version,
        version=swap.version,
        began_s=swap.started_at - observed.started_at,
        ended_s=swap.ended_at - observed.started_at,
        flip_s=None if flipped_at is None else flipped_at - observed.started_at,
        fault=swap.fault,
        phases=swap.phases,
    )
