"""Amounts as they are written on the command line, and what is said of those that are none."""

from collections.abc import Callable
from typing import Any

import pytest

from twinserve.amounts import mirrored, percent_each, percent_of_all, rising, seconds, weights


@pytest.mark.parametrize(
    ("read", "text", "amount"),
    [
        (seconds, "30s", 30.0),
        (seconds, "500ms", 0.5),
        (seconds, "1.5m", 90.0),
        (seconds, "1h", 3600.0),
        (seconds, "7", 7.0),
        (rising, "1,10,50,100", [1, 10, 50, 100]),
        (rising, "0.5%, 10%", [0.5, 10]),
        (weights, "torchserve=3,tfserving=1", {"torchserve": 3, "tfserving": 1}),
        (weights, "torchserve=70%, tfserving=30%", {"torchserve": 70, "tfserving": 30}),
        (mirrored, "tfserving=10%", {"tfserving": 10}),
        (mirrored, "tfserving=0", {"tfserving": 0}),
    ],
)
def test_amounts(read: Callable[[str, str], Any], text: str, amount: Any) -> None:
    assert read("--flag", text) == amount


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (seconds, "soon", "expected a duration"),
        (seconds, "-1s", "expected a duration"),
        (seconds, "", "expected a duration"),
        (rising, "abc", "expected rising percentages"),
        (rising, "50,10", "expected rising percentages"),
        (rising, "0,10", "expected rising percentages"),
        (rising, "10,101", "up to 100"),
        (rising, "nan", "expected rising percentages"),
        (rising, "", "expected rising percentages"),
        (weights, "torchserve", "'torchserve' is no share"),
        (weights, "=3", "'=3' is no share"),
        (weights, "torchserve=-1,tfserving=2", "at least 0"),
        (weights, "torchserve=0", "not all of them 0"),
        (weights, "torchserve=inf", "at least 0"),
        (mirrored, "tfserving=200", "from 0 to 100"),
        (mirrored, "tfserving=nan", "is no share"),
    ],
)
def test_what_is_none_names_the_flag(read: Callable[[str, str], Any], text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        read("--flag", text)
    assert str(refused.value).startswith(f"--flag {text}: ")


def test_everything_is_shown_in_percent() -> None:
    assert percent_of_all({"torchserve": 1, "tfserving": 1}) == "torchserve 50%, tfserving 50%"
    assert percent_of_all({"torchserve": 70.0, "tfserving": 30.0}) == "torchserve 70%, tfserving 30%"
    assert percent_of_all({"torchserve": 1}) == "torchserve 100%"
    assert percent_each({"tfserving": 0.005}) == "tfserving 0.5%"
    assert percent_each({}) == ""
