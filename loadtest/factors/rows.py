"""What a run of the factors leaves: rows, each with how it was measured or why it was not."""

from collections.abc import Mapping

import msgspec

from contracts.findings import Finding
from loadtest.bench.machine import Machine

FORMAT = 1
TORCH, TENSORFLOW = "PyTorch", "TensorFlow"
FRAMEWORKS: Mapping[str, str] = {"torch": TORCH, "tf": TENSORFLOW}
"""The frameworks by the name of their folder below workers/."""


class Row(msgspec.Struct, frozen=True):
    """One cell of the table: `value` is a number in `unit`, or a word; None with the reason `why_not`."""

    factor: str
    framework: str
    what: str
    value: float | str | None
    unit: str
    how: str
    why_not: str = ""


class Factors(msgspec.Struct, frozen=True):
    """Everything."""

    format: int
    started_at: str
    took_s: float
    is_quick: bool
    is_interrupted: bool
    machine: Machine
    rows: tuple[Row, ...]


def row_of(factor: str, framework: str, finding: Finding) -> Row:
    """A worker's finding in its place."""
    return Row(factor, framework, finding.what, finding.value, finding.unit, finding.how, finding.why_not)


def missing_row(factor: str, framework: str, what: str, why_not: str) -> Row:
    """Something that could not be measured."""
    return Row(factor, framework, what, None, "", "", why_not)


def encode_factors(factors: Factors) -> bytes:
    """As JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(factors), indent=1) + b"\n"
