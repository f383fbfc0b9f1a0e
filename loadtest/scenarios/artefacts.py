"""The files of a run: for programs, for people, and for HdrHistogram's tools."""

from pathlib import Path

import msgspec

from contracts.atomic import write_atomic
from loadtest.scenarios.summaries import Summary
from loadtest.scenarios.tallies import Tally

SUMMARY = "summary.json"
TEXT = "summary.txt"
DISTRIBUTION = "latency.hgrm"
FAILURE = "cannot-run.txt"


def write_artefacts(folder: Path, summary: Summary, text: str, tally: Tally) -> None:
    """Write all of them, each whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SUMMARY, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    write_atomic(folder / TEXT, text.encode())
    write_atomic(folder / DISTRIBUTION, tally.latency.to_hgrm().encode())


def write_failure(folder: Path, reason: str) -> None:
    """Why there was no run. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / FAILURE, f"{reason}\n".encode())
