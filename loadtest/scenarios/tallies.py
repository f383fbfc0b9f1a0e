"""What the requests of a run add up to: counts, latencies, labels. Mergeable, since several processes may ask. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.scenarios.answers import Fate
from loadtest.scenarios.histograms import Histogram

MOST_FAULTS = 50
"""Different faults that are kept by their words; the others are counted together."""

OTHER_FAULTS = "others"
_LONGEST_FAULT = 200


@dataclass(frozen=True, slots=True)
class Ended:
    """One request. Durations in seconds: `lateness_s` from when it was due until it was sent, `service_s` from then on.

    `is_label_right` is None where the label is unknown, or there was no answer.
    """

    protocol: str
    phase: str
    fate: Fate
    lateness_s: float
    service_s: float
    version: str = ""
    engine: str = ""
    fault: str = ""
    is_label_right: bool | None = None

    @property
    def latency_s(self) -> float:
        """From when it was due: what a client who came then would have waited."""
        return self.lateness_s + self.service_s


_HISTOGRAMS = ("latency", "service", "lateness")
_GROUPS = ("by_protocol", "by_phase", "by_engine")
_COUNTERS = ("fates", "versions", "labels", "faults")


@dataclass
class Tally:
    """All requests of a run so far. Requests that were not sent are in `fates` and `faults` alone."""

    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    by_protocol: dict[str, Histogram] = field(default_factory=dict)
    by_phase: dict[str, Histogram] = field(default_factory=dict)
    by_engine: dict[str, Histogram] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, ended: Ended) -> None:
        """Count one request."""
        self.fates[ended.fate] += 1
        if ended.fault:
            self._add_fault(f"{ended.fate}: {ended.fault[:_LONGEST_FAULT]}", 1)
        if ended.fate is Fate.NOT_SENT:
            return
        self.latency.record(ended.latency_s)
        self.service.record(ended.service_s)
        self.lateness.record(ended.lateness_s)
        self.by_protocol.setdefault(ended.protocol, Histogram()).record(ended.latency_s)
        self.by_phase.setdefault(ended.phase, Histogram()).record(ended.latency_s)
        if ended.version:
            self.versions[ended.version] += 1
        if ended.engine:
            self.by_engine.setdefault(ended.engine, Histogram()).record(ended.latency_s)
        if ended.is_label_right is not None:
            self.labels["right" if ended.is_label_right else "other"] += 1

    def merge(self, other: "Tally") -> None:
        """Add all that another one holds."""
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))
        for name in _GROUPS:
            for key, histogram in getattr(other, name).items():
                getattr(self, name).setdefault(key, Histogram()).merge(histogram)
        for counted in ("fates", "versions", "labels"):
            getattr(self, counted).update(getattr(other, counted))
        for fault, count in other.faults.items():
            self._add_fault(fault, count)

    def _add_fault(self, fault: str, count: int) -> None:
        is_kept = fault in self.faults or len(self.faults) < MOST_FAULTS
        self.faults[fault if is_kept else OTHER_FAULTS] += count

    @property
    def requests(self) -> int:
        """All that were due, sent or not."""
        return self.fates.total()

    @property
    def errors(self) -> int:
        return self.requests - self.fates[Fate.RIGHT]

    @property
    def error_rate(self) -> float:
        """The share of requests that did not get a right answer; 0 when there was none."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def accuracy(self) -> float | None:
        """The share of right labels among the answers to labelled rows; None when there was none."""
        return self.labels["right"] / self.labels.total() if self.labels.total() else None

    def to_document(self) -> dict[str, Any]:
        """What JSON and msgpack can carry to another process."""
        document: dict[str, Any] = {name: getattr(self, name).to_document() for name in _HISTOGRAMS}
        for name in _GROUPS:
            document[name] = {key: histogram.to_document() for key, histogram in getattr(self, name).items()}
        return document | {name: {str(k): n for k, n in getattr(self, name).items()} for name in _COUNTERS}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Tally":
        """The reverse of `to_document`."""
        read: dict[str, Any] = {name: Histogram.from_document(document[name]) for name in _HISTOGRAMS}
        for name in _GROUPS:
            read[name] = {key: Histogram.from_document(each) for key, each in document[name].items()}
        read |= {name: Counter(document[name]) for name in _COUNTERS}
        return cls(**read)
