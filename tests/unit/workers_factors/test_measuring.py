"""What both frameworks' measuring workers share, without a framework."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinserve.reference import load_weights, logits
from workers.factors.durations import medians_in_turns_ms
from workers.factors.operators import cases, check, measure_cover
from workers.factors.reference import compare_format, forward, make_reference
from workers.factors.stops import PASSES, Stops, measure_stops
from workers.factors.task import attempt

WEIGHTS = Path("workers/weights/mnist/2.safetensors")


def raising(error: Exception) -> Callable[[], float]:
    def measure() -> float:
        raise error

    return measure


def test_what_a_measurement_raises_is_its_reason() -> None:
    failed = attempt("size", "MB", "how", raising(ModuleNotFoundError("No module named 'onnx'\nmore")))
    assert failed.value is None
    assert failed.why_not == "ModuleNotFoundError: No module named 'onnx'"
    assert "nan" in attempt("speed", "ms", "how", lambda: float("nan")).why_not
    assert attempt("speed", "ms", "how", lambda: 2.5).value == 2.5


def test_all_calls_get_turns_and_the_slow_one_is_slower() -> None:
    calls = {"fast": 0, "slow": 0}

    def count(name: str, work: int) -> Callable[[], object]:
        def call() -> object:
            calls[name] += 1
            return sum(range(work))

        return call

    found = medians_in_turns_ms({"fast": count("fast", 10), "slow": count("slow", 200_000)}, rounds=3, turn_s=0.01)
    assert found["slow"] > found["fast"] > 0
    assert calls["slow"] > 3


def test_the_reference_is_the_platforms_own_forward_pass() -> None:
    images = np.random.default_rng(1).random((3, 28, 28), np.float32)
    expected = logits(load_weights(WEIGHTS), images)
    np.testing.assert_allclose(forward(WEIGHTS, images), expected, atol=1e-4)


def test_a_format_that_answers_otherwise_is_seen() -> None:
    reference = make_reference(WEIGHTS, None)
    right = {
        f.what: f.value for f in compare_format("a", lambda: lambda _: reference.logits.astype(np.float32), reference)
    }
    assert right["a: same digit as the reference"] == 100
    rolled = reference.logits[:, ::-1].astype(np.float32)
    wrong = {f.what: f.value for f in compare_format("a", lambda: lambda _: rolled, reference)}
    assert isinstance(wrong["a: same digit as the reference"], float)
    assert wrong["a: same digit as the reference"] < 50
    (missing,) = compare_format("b", raising(ImportError("no runtime")), reference)  # type: ignore[arg-type]
    assert missing.why_not == "ImportError: no runtime"


def test_every_case_is_named_once_and_accepts_its_own_answer() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) > 30
    for case in cases():
        check(case.expected, case.expected)
    with pytest.raises(ValueError, match="off by up to 1"):
        check(np.zeros(3, np.float32), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="shape"):
        check(np.zeros(3, np.float32), np.zeros(4, np.float32))


def test_what_is_not_served_is_named_with_its_reason() -> None:
    asked: dict[str, Callable[[], object]] = {"sort": lambda: None, "top k": raising(LookupError("no such operator"))}
    count, refused = measure_cover("operators", "a file", asked)
    assert (count.what, count.value, count.unit) == ("operators served", 1, "of 2")
    assert (refused.what, refused.value, refused.how) == ("operators: top k", "no", "LookupError: no such operator")


def stopping() -> int:
    features = [1, 2]
    breakpoint()
    return len(features)


def test_stops_are_counted_and_values_looked_at() -> None:
    usual = sys.breakpointhook

    def can_read(value: Any) -> bool:
        return bool(value == [1, 2])

    def blind() -> Callable[[], object]:
        stopping()
        return lambda: None

    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "eager": lambda: stopping,
        "traced": blind,
        "scripted": raising(NotImplementedError("breakpoint")),  # type: ignore[dict-item]
    }
    found = {finding.what: finding for finding in measure_stops(ways, Stops(can_read))}
    assert sys.breakpointhook is usual
    assert found["eager: stops while it is made"].value == 0
    assert found[f"eager: stops in {PASSES} passes"].value == PASSES
    assert found["eager: values can be read"].value == "yes"
    assert found["traced: stops while it is made"].value == 1
    assert found[f"traced: stops in {PASSES} passes"].value == 0
    assert found["traced: values can be read"].value == "no stop"
    assert found["scripted: stops while it is made"].why_not == "NotImplementedError: breakpoint"
    assert f"scripted: stops in {PASSES} passes" not in found
