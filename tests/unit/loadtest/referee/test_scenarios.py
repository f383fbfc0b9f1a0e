"""What LoadGen is told, and how its log is read."""

import pytest

from loadtest.referee.detail_log import BadLog, read_detail_log
from loadtest.referee.loadgen import make_settings
from loadtest.referee.scenarios import SAMPLES_PER_QUERY, Capacity, Scenario, Wish, choose_terms
from tests.unit.loadtest.referee.fake_loadgen import FakeLoadGen, log_line

CAPACITY = Capacity(fastest_s=0.003, rate_per_s=840.0)
WISH = Wish(duration_s=10.0, slo_ms=50.0, seed=7)


@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM])
def test_streams_have_queries_enough_for_a_gateway_twice_as_fast(scenario: Scenario) -> None:
    settings = make_settings(FakeLoadGen(), choose_terms(scenario, WISH, CAPACITY))
    name = "single" if scenario is Scenario.SINGLE_STREAM else "multi"
    expected_ns = getattr(settings, f"{name}_stream_expected_latency_ns")
    assert 0 < expected_ns < 0.5 * 3_000_000
    assert settings.min_duration_ms == 10_000
    assert getattr(settings, "multi_stream_samples_per_query", SAMPLES_PER_QUERY) == SAMPLES_PER_QUERY


def test_server_is_asked_a_share_of_what_was_reached_unless_a_rate_is_given() -> None:
    settings = make_settings(FakeLoadGen(), choose_terms(Scenario.SERVER, WISH, CAPACITY))
    assert settings.server_target_qps == 250.0
    assert settings.server_target_latency_ns == 50_000_000
    assert settings.server_target_latency_percentile == 0.99
    given = choose_terms(Scenario.SERVER, Wish(10.0, 50.0, rate_per_s=33.0), CAPACITY)
    assert given.rate_per_s == 33.0


def test_offline_has_more_samples_than_the_time_takes() -> None:
    settings = make_settings(FakeLoadGen(), choose_terms(Scenario.OFFLINE, WISH, CAPACITY))
    assert settings.offline_expected_qps > 840.0


def test_a_run_of_the_same_seed_asks_the_same() -> None:
    first, second = (make_settings(FakeLoadGen(), choose_terms(Scenario.SERVER, WISH, CAPACITY)) for _ in range(2))
    other = make_settings(FakeLoadGen(), choose_terms(Scenario.SERVER, Wish(10.0, 50.0, seed=8), CAPACITY))
    assert first.schedule_rng_seed == second.schedule_rng_seed != other.schedule_rng_seed


def test_the_log_is_read_past_lines_that_are_none() -> None:
    lines = [
        "something else",
        ":::MLLOG {cut off",
        log_line("result_validity", "INVALID"),
        log_line("result_mean_latency_ns", 2_500_000),
        log_line("error_runtime", "Ending early", is_error=True),
        log_line("early_stopping_result", " * Only processed 3 queries.\n * Need more."),
    ]
    log = read_detail_log("\n".join(lines))
    assert not log.is_valid
    assert log.milliseconds("result_mean_latency_ns") == 2.5
    assert log.number("result_query_count") is None
    assert log.errors == ("error_runtime: Ending early",)
    assert log.text("early_stopping_result") == "* Only processed 3 queries. * Need more."


def test_a_log_without_a_verdict_is_no_result() -> None:
    with pytest.raises(BadLog, match="no verdict"):
        _ = read_detail_log(log_line("result_query_count", 3)).is_valid
