"""What all gateway processes together counted of one version between two moments.

Rules: pure. A moment is a copy, since the ledger goes on growing; a window is the difference of two moments, process by
process, so that one that died between them counts for nothing. Must not know what the windows are judged by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.core.counts import Counts, Ledger, total, window
from gateway.core.ports import Peers

Moment = Mapping[str, Mapping[tuple[str, int], Counts]]
"""All counts at one time, by gateway process, then by (model, version)."""


def take_moment(peers: Peers, ledger: Ledger) -> Moment:
    """What every gateway process has counted by now; `ledger` is this one's."""
    everywhere = {name: report.counts for name, report in peers.others().items()}
    everywhere[peers.name] = ledger.counts
    return {
        name: {key: replace(counts, latency=[*counts.latency]) for key, counts in by_version.items()}
        for name, by_version in everywhere.items()
    }


def between(before: Moment, now: Moment, key: tuple[str, int]) -> Counts:
    """What was counted of one (model, version) between two moments; all of it for a process that came since."""
    windows = [
        window(counts.get(key, Counts()), before.get(name, {}).get(key, Counts())) for name, counts in now.items()
    ]
    return total([Counts(), *windows])


def baseline(moments: Sequence[Moment], now: Moment, key: tuple[str, int], fewest: int) -> Counts:
    """The window up to now from the first of `moments` since which there were `fewest` answers, else from the last.

    The moments go back in time: where the latest past is too little to compare with, an earlier one counts too.
    """
    counted = Counts()
    for moment in moments:
        counted = between(moment, now, key)
        if sum(counted.latency) >= fewest:
            break
    return counted
