"""Against scipy, which is the reference."""

import numpy as np
import pytest
from scipy import special

from loadtest.compare.distributions import binomial_ranks, student_quantile


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.975, 0.995])
def test_students_t_is_scipys(level: float) -> None:
    found = [student_quantile(level, freedom) for freedom in range(1, 60)]
    np.testing.assert_allclose(found, special.stdtrit(np.arange(1, 60), level), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("level", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_what_has_no_quantile_is_refused(level: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(level, freedom)


@pytest.mark.parametrize("count", [1, 7, 40, 299, 1000, 20_000, 400_000])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_ranks_are_the_narrowest_that_scipys_binomial_allows(count: int, level: float) -> None:
    low, high = binomial_ranks(count, level, 0.025, 0.025)
    # The quantile is below the value of rank `low` when fewer than `low` values are below the quantile.
    assert low == 0 or special.bdtr(low - 1, count, level) <= 0.025
    assert special.bdtr(low, count, level) > 0.025
    assert high == count + 1 or special.bdtr(high - 1, count, level) >= 0.975
    assert high == 1 or special.bdtr(high - 2, count, level) < 0.975


def test_no_values_have_no_ranks() -> None:
    assert binomial_ranks(0, 0.5, 0.025, 0.025) == (0, 1)


def test_the_least_number_for_a_bound_of_p99_is_299() -> None:
    """0.99 ^ 299 is the first below 5 %."""
    assert binomial_ranks(298, 0.99, 0.5, 0.05)[1] == 299
    assert binomial_ranks(299, 0.99, 0.5, 0.05)[1] == 299
