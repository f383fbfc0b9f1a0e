"""MLPerf's LoadGen: the only module that knows its API (github.com/mlcommons/inference, loadgen/bindings).

LoadGen's calls block until its run is over, so they have a thread of their own; it calls back from that thread. Every
sample that it issues must be reported, or its run never ends.
"""

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadtest.referee.scenarios import Scenario, Terms

PACKAGE, MODULE = "mlcommons-loadgen", "mlperf_loadgen"

_NS = 1e9
_LEAST_QUERIES = 1  # how many make a percentile sure is LoadGen's own early-stopping rule to say

Issue = Callable[[Sequence[tuple[int, int]]], None]
"""Takes samples, each with LoadGen's id and its index in the library; returns at once."""


class NoLoadGen(Exception):
    """LoadGen is not installed; the message says what to do."""


def import_loadgen() -> Any:
    """The extension module. Raises NoLoadGen."""
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        install = "pip install -c constraints.txt mlcommons-loadgen"
        raise NoLoadGen(f"MLPerf's LoadGen is not installed ({error}): {install}") from error


def loadgen_version() -> str:
    """Of the installed package; empty when it is not known."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def run_loadgen(loadgen: Any, terms: Terms, samples: int, issue: Issue, folder: Path) -> None:
    """One run, from its first query to its last answer; LoadGen writes its logs into `folder`, which exists.

    `samples` is the size of the library: indices are below it. `issue` is called from LoadGen's threads.
    """

    def issue_queries(queries: Any) -> None:
        issue([(query.id, query.index) for query in queries])

    sut = loadgen.ConstructSUT(issue_queries, _do_nothing)
    library = loadgen.ConstructQSL(samples, samples, _do_nothing, _do_nothing)
    try:
        loadgen.StartTestWithLogSettings(sut, library, make_settings(loadgen, terms), _log_settings(loadgen, folder))
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


def report(loadgen: Any, token: int) -> None:
    """A sample has ended. Without its output: LoadGen keeps outputs only for accuracy runs, and we check our own."""
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(token, 0, 0)])


def make_settings(loadgen: Any, terms: Terms) -> Any:
    """LoadGen's settings of a performance run on these terms."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, terms.scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(terms.duration_s * 1000)
    settings.min_query_count = _LEAST_QUERIES
    settings.qsl_rng_seed, settings.sample_index_rng_seed = terms.seed, terms.seed + 1
    settings.schedule_rng_seed = terms.seed + 2
    if terms.scenario == Scenario.SINGLE_STREAM:
        settings.single_stream_expected_latency_ns = _nanoseconds(terms.expected_s)
        settings.single_stream_target_latency_percentile = terms.quantile
    elif terms.scenario == Scenario.MULTI_STREAM:
        settings.multi_stream_expected_latency_ns = _nanoseconds(terms.expected_s)
        settings.multi_stream_target_latency_percentile = terms.quantile
        settings.multi_stream_samples_per_query = terms.samples_per_query
    elif terms.scenario == Scenario.SERVER:
        settings.server_target_qps = terms.rate_per_s
        settings.server_target_latency_ns = _nanoseconds(terms.bound_s)
        settings.server_target_latency_percentile = terms.quantile
    else:
        settings.offline_expected_qps = terms.expected_per_s
    return settings


def _nanoseconds(seconds: float | None) -> int:
    return max(1, round((seconds or 0.0) * _NS))


def _log_settings(loadgen: Any, folder: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _do_nothing(*_: Any) -> None:
    """For callbacks that nothing depends on: the library is in memory anyway, and queries go out as they come."""
