"""Which slots count."""

from dataclasses import replace

import numpy as np
import pytest

from loadtest.compare.slo import judge
from loadtest.compare.trials import NOT_SENT, Load, Trial, find_reason_to_reject
from tests.unit.loadtest.compare.simulated import poisson_due_s, queue_latencies, trial_of


def queued(rate_per_s: float, utilisation: float, seed: int, seconds: float = 8.0) -> Trial:
    """One server with exponential service; above a utilisation of 1, what is owed grows to the end."""
    due_s = poisson_due_s(rate_per_s, seed, seconds)
    service_s = np.random.default_rng(seed).exponential(utilisation / rate_per_s, len(due_s))
    return trial_of(due_s, queue_latencies(due_s, service_s), Load(seconds, rate_per_s)).after(seconds / 10)


@pytest.mark.parametrize("rate_per_s", [150.0, 1000.0])
def test_a_slot_in_which_a_backlog_grows_does_not_count(rate_per_s: float) -> None:
    for seed in range(10):
        assert "a backlog grew: " in find_reason_to_reject(queued(rate_per_s, 1.4, seed))


@pytest.mark.parametrize("utilisation", [0.3, 0.8])
def test_a_queue_that_comes_and_goes_is_no_backlog(utilisation: float) -> None:
    for seed in range(100):
        assert find_reason_to_reject(queued(150.0, utilisation, seed, 1.5)) == ""


def test_many_answers_owed_all_along_are_no_backlog() -> None:
    for seed in range(100):
        due_s = poisson_due_s(500.0, seed, 2.0)
        latency_s = np.random.default_rng(seed).exponential(0.1, len(due_s))
        assert find_reason_to_reject(trial_of(due_s, latency_s, Load(2.0, 500.0)).after(0.6)) == ""


def test_a_slot_that_was_ended_with_too_many_answers_owed_does_not_count() -> None:
    ended = replace(queued(150.0, 0.3, 1), failures={NOT_SENT: 1})
    assert find_reason_to_reject(ended) == "a backlog grew until the slot was ended (1 times " + NOT_SENT + ")"
    assert judge(ended, slo_ms=10_000).why == ("errors: " + NOT_SENT,)
