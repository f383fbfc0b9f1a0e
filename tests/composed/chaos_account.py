"""Who asked, who answered, and what was broken then: whether a run of chaos adds up. Pure.

The gateways' ledgers die with them. So each is read twice a second, and what a killed one answered after it was read
last is bounded by what its clients were answered in that time.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.composed.steady_clients import Asked

PROBE = "probe"
"""The transport of our own questions, which name an engine that may be down."""


@dataclass(frozen=True)
class Counts:
    """One gateway's ledger, of all versions together."""

    accepted: int = 0
    answered: int = 0
    failed: int = 0

    @property
    def under_way(self) -> int:
        return self.accepted - self.answered - self.failed

    def since(self, before: "Counts") -> "Counts":
        return Counts(self.accepted - before.accepted, self.answered - before.answered, self.failed - before.failed)


@dataclass(frozen=True)
class EndedLife:
    """A gateway that began to count anew: its last counts, when they were read, and when the next ones were."""

    counts: Counts
    seen_at: float
    next_at: float


@dataclass
class Lives:
    """The ledgers of all lives of all gateways, as they were read one after the other."""

    ended: list[EndedLife] = field(default_factory=list)
    _before: dict[str, Counts] = field(default_factory=dict)
    _last: dict[str, tuple[Counts, float, str]] = field(default_factory=dict)

    def begin(self, gateway: str, life: str, counts: Counts, at: float) -> None:
        """What it had counted before the run is left out. `life` is another one after each start."""
        self._before[gateway] = counts
        self._last[gateway] = (counts, at, life)

    def note(self, gateway: str, life: str, counts: Counts, at: float) -> None:
        """Read now; `at` is before it was asked for."""
        last, seen_at, known = self._last.get(gateway, (Counts(), at, life))
        if life != known or counts.accepted < last.accepted:
            before = self._before.pop(gateway, Counts())
            self.ended.append(EndedLife(last.since(before), seen_at, at))
        self._last[gateway] = (counts, at, life)

    @property
    def current(self) -> dict[str, Counts]:
        """Of the lives that go on."""
        return {name: seen.since(self._before.get(name, Counts())) for name, (seen, _, _) in self._last.items()}


@dataclass(frozen=True)
class Excuse:
    """A gateway was killed: connections that were in use between these times broke."""

    what: str
    start: float
    end: float

    def covers(self, asked: Asked) -> bool:
        return asked.is_broken and asked.sent_at <= self.end and asked.ended_at >= self.start


@dataclass
class Event:
    """Something that was done to the platform. `note` says what else is to be told."""

    what: str
    target: str
    began_at: float
    mended_at: float = 0.0
    whole_at: float = 0.0
    note: str = ""

    @property
    def recovery_s(self) -> float:
        """From the moment nobody kept it broken until all was well."""
        return self.whole_at - self.mended_at

    def meets(self, start: float, end: float) -> bool:
        return start <= self.whole_at and end >= self.began_at


@dataclass(frozen=True)
class Change:
    """A promote or rollback. `fault` is empty when it was done."""

    kind: str
    version: int
    began_at: float
    ended_at: float
    fault: str = ""


def find_ledger_fault(lives: Lives, asked: Sequence[Asked], clients: int) -> str:
    """Where the gateways' ledgers and the clients' count of the same requests differ; empty when they agree."""
    current = lives.current
    for gateway, counts in current.items():
        if counts.under_way:
            return f"gateway {gateway[:12]}: {counts} does not add up, and nothing is under way"
    for life in lives.ended:
        if not 0 <= life.counts.under_way <= clients:
            return f"a gateway that ended had {life.counts.under_way} under way, of {clients} clients"
    known = [*current.values(), *(life.counts for life in lives.ended)]
    good = [one for one in asked if one.is_good]
    bad = len(asked) - len(good)
    unseen = sum(any(life.seen_at <= one.ended_at <= life.next_at for life in lives.ended) for one in good)
    broken = sum(one.is_broken for one in asked)
    answered, failed = sum(counts.answered for counts in known), sum(counts.failed for counts in known)
    if not len(good) - unseen <= answered <= len(good) + broken:
        return f"gateways answered {answered}; {len(good)} answers arrived, {unseen} of them may be in no ledger"
    if failed > bad:
        return f"gateways failed {failed}, clients have {bad} failures"
    return ""


def find_unexplained(asked: Sequence[Asked], excuses: Sequence[Excuse]) -> list[Asked]:
    """Failures that nothing that was broken then explains. Our own probes may fail; a wrong answer never is right."""
    return [
        one
        for one in asked
        if not one.is_good
        and (one.transport != PROBE or one.status in ("200", "OK"))
        and not any(excuse.covers(one) for excuse in excuses)
    ]


def find_bad_changes(changes: Sequence[Change], events: Sequence[Event]) -> list[Change]:
    """Promotes and rollbacks that failed although all was well from their beginning to their end."""
    return [
        change
        for change in changes
        if change.fault and not any(event.meets(change.began_at, change.ended_at) for event in events)
    ]


@dataclass(frozen=True)
class Report:
    """What a run showed. Times are of the monotonic clock; `began_at` is its beginning."""

    seed: int
    began_at: float
    ended_at: float
    events: Sequence[Event]
    changes: Sequence[Change]
    asked: Sequence[Asked]
    excuses: Sequence[Excuse]
    ledger_fault: str
    trouble: str

    @property
    def unexplained(self) -> list[Asked]:
        return find_unexplained(self.asked, self.excuses)

    @property
    def faults(self) -> list[str]:
        """Why it is not good; empty when it is."""
        found = [f"not well at the end: {self.trouble}"] if self.trouble else []
        found += [f"ledger: {self.ledger_fault}"] if self.ledger_fault else []
        found += [
            f"unexplained at {one.sent_at - self.began_at:.1f} s: {one.transport} {one.status or 'broken'}: {one.fault}"
            for one in self.unexplained[:10]
        ]
        found += [f"{bad.kind} failed while all was well: {bad.fault}" for bad in self._bad_changes]
        if not any(not change.fault for change in self.changes):
            found.append("no promote was done at all")
        return found

    @property
    def _bad_changes(self) -> list[Change]:
        return find_bad_changes(self.changes, self.events)

    def to_markdown(self) -> str:
        """For people; `make compose-chaos` writes it to a file."""
        good = sum(one.is_good for one in self.asked)
        done = sum(not change.fault for change in self.changes)
        kinds = Counter(one.transport for one in self.asked)
        lines = [
            f"# Chaos, seed {self.seed}, {self.ended_at - self.began_at:.0f} s",
            "",
            f"{len(self.asked)} requests ({', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))}): {good} "
            f"answered rightly, {len(self.asked) - good} failed, {len(self.unexplained)} of them not explained. "
            f"{len(self.changes)} promotes and rollbacks, {done} done.",
            "",
            "| at s | what | broken s | well after s | requests | failed | note |",
            "|---|---|---|---|---|---|---|",
            *map(self._row, self.events),
            "",
            *(f"- {fault}" for fault in self.faults),
            "good" if not self.faults else "not good",
        ]
        return "\n".join(lines) + "\n"

    def to_document(self) -> dict[str, object]:
        """For programs: JSON."""
        return {
            "seed": self.seed,
            "seconds": self.ended_at - self.began_at,
            "requests": len(self.asked),
            "failed": sum(not one.is_good for one in self.asked),
            "unexplained": len(self.unexplained),
            "changes": [{"kind": c.kind, "version": c.version, "fault": c.fault} for c in self.changes],
            "events": [
                {
                    "at_s": event.began_at - self.began_at,
                    "what": event.what,
                    "target": event.target,
                    "broken_s": event.mended_at - event.began_at,
                    "recovery_s": event.recovery_s,
                    "note": event.note,
                }
                for event in self.events
            ],
            "faults": self.faults,
        }

    def _row(self, event: Event) -> str:
        met = [one for one in self.asked if event.meets(one.sent_at, one.ended_at) and one.transport != PROBE]
        failed = sum(not one.is_good for one in met)
        return (
            f"| {event.began_at - self.began_at:.1f} | {event.what} of {event.target} "
            f"| {event.mended_at - event.began_at:.1f} | {event.recovery_s:.1f} "
            f"| {len(met)} | {failed} | {event.note} |"
        )
