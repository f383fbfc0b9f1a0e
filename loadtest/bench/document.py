"""A report as Markdown. Pure."""

from collections.abc import Iterator
from statistics import median

from loadtest.bench.comparisons import PROCESS_COMPARISONS
from loadtest.bench.cost_tables import cost_model_tables
from loadtest.bench.gpu_tables import describe_gpu, gpu_table, parity_table
from loadtest.bench.growth_tables import batch_table, growth_table, process_table
from loadtest.bench.machine import Machine
from loadtest.bench.markdown import number
from loadtest.bench.results import Report
from loadtest.bench.tables import comparison_table, cost_table, tried_text

_BY_PROCESSES = {comparison.name for comparison in PROCESS_COMPARISONS}
"""They have a table of their own."""


def markdown(report: Report) -> str:
    """The whole report, headings and tables, ending in a newline."""
    parts = [describe_machine(report.machine, report.settings), *_notes(report)]
    compared = [result for result in report.comparisons if result.name not in _BY_PROCESSES]
    if compared:
        parts.append(comparison_table(compared))
    if report.tuning:
        tuned = (f"{connections} connections: {tried_text(tried)}" for connections, tried in report.tuning.items())
        parts.append("TorchServe alone, requests a second by batchSize/maxBatchDelay. " + "; ".join(tuned) + ".")
    parts += _sections(report)
    faults = dict.fromkeys(f"- {run.case}: {fault}" for run in report.runs for fault in run.figures.faults)
    if faults:
        parts.append("Faults seen:\n" + "\n".join(list(faults)[:20]))
    return "\n\n".join(parts) + "\n"


def _notes(report: Report) -> Iterator[str]:
    if report.gpu:
        yield describe_gpu(report.gpu)
    if report.runs:
        others = median(run.figures.other_cores for run in report.runs)
        yield f"Meanwhile all other processes of the machine used {number(others)} of {report.machine.cores} cores."
    if report.is_interrupted:
        yield "**Interrupted: only what was measured until then.**"


def _sections(report: Report) -> Iterator[str]:
    """Each as a heading and a table, where there is something to show."""
    sections = {
        "Parity on the GPU": parity_table(report.parity),
        "GPU": gpu_table(report.runs) if report.gpu else "",
        "Gateway processes": process_table(report),
        "Connections": growth_table(report),
        "Images a request": batch_table(report),
        **cost_model_tables(report),
        "Every case": cost_table([(str(run.case), run.figures) for run in report.runs]) if report.runs else "",
    }
    for heading, body in sections.items():
        if body:
            yield f"### {heading}"
            yield body


def describe_machine(machine: Machine, settings: str) -> str:
    """One paragraph."""
    governor = f", governor {machine.governor}" if machine.governor else ""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    return (
        f"{machine.cores} cores of {machine.processor or 'an unnamed processor'}{governor}, "
        f"{machine.memory_bytes / 2**30:.0f} GiB, {machine.system}, load average before {machine.load:.2f}; "
        f"Python {machine.python}, {libraries}; commit {machine.commit or 'unknown'}; {settings}."
    )
