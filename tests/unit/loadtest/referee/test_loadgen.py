"""The real LoadGen against a gateway that pretends: our reading of its settings and of its log is right."""

from pathlib import Path

import pytest

from loadtest.referee.loadgen import NoLoadGen, import_loadgen
from loadtest.referee.match import find_capacity, make_subject, run_match
from loadtest.referee.scenarios import Scenario, Wish, choose_terms
from tests.unit.loadtest.compare.fake_deployment import serving
from tests.unit.loadtest.referee.routing_deployment import RoutingDeployment, look

pytestmark = pytest.mark.long

DURATION_S, SERVER_S = 1.5, 4.0  # LoadGen wants 459 queries at least to be sure of a p99


@pytest.mark.parametrize("scenario", list(Scenario))
async def test_a_real_run_ends_with_a_verdict_and_all_figures(scenario: Scenario, tmp_path: Path) -> None:
    try:
        module = import_loadgen()
    except NoLoadGen as missing:
        pytest.skip(str(missing))
    async with serving(RoutingDeployment()) as fake:
        subject = make_subject(await look(fake, tmp_path), None)
        capacity = await find_capacity(subject, 0.3)
        duration_s = SERVER_S if scenario is Scenario.SERVER else DURATION_S
        wish = Wish(duration_s, slo_ms=1000.0, rate_per_s=150.0)
        ruling = await run_match(module, choose_terms(scenario, wish, capacity), subject, tmp_path / "logs")
    assert ruling.answers.is_good, ruling
    assert ruling.seconds >= duration_s
    assert ruling.samples_per_s is not None
    if scenario is Scenario.SERVER:
        assert ruling.samples_per_s == pytest.approx(150, rel=0.3)
    samples = ruling.queries * ruling.terms.samples_per_query
    if scenario is not Scenario.OFFLINE:  # all of it is one query
        assert samples == ruling.answers.asked
    latency = ruling.latency_ms
    assert latency.p50 is not None
    assert latency.p99 is not None
    assert latency.max is not None
    assert 0 < latency.p50 <= latency.p99 <= latency.max
    assert "MLPerf Results Summary" in (tmp_path / "logs" / "mlperf_log_summary.txt").read_text()
    # Of eight at a time, a slow machine may not ask so many in so short a run that LoadGen is sure of their p99.
    is_too_short = scenario is Scenario.MULTI_STREAM and "Only processed" in ruling.early_stopping
    assert ruling.is_valid != is_too_short, (ruling.invalid_because, ruling.early_stopping, ruling.loadgen_errors)
