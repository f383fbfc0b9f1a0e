"""When an engine that has grown is replaced: measurements in, one order out."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from twinserve.memory_guard import (
    GIBIBYTE,
    MEGABYTE,
    GatewayWord,
    GuardLimits,
    Record,
    Records,
    Replace,
    Seen,
    Wait,
    has_suspects,
    limit_bytes,
    limits_from,
    next_order,
    noted,
    pause_s,
    replaced,
)

A, B = "torchserve", "tfserving"
LIMITS = GuardLimits({A: 1000 * MEGABYTE, B: 1000 * MEGABYTE})
DERIVED = GuardLimits()
BIG, SMALL = 1500 * MEGABYTE, 500 * MEGABYTE
BOTH_SERVE = GatewayWord(frozenset({A, B}), is_loading=False)
OVER = Record(pid=1, times_over=3)
FINE = Record(pid=2)
NOW = 10_000.0


def seen(memory: int | None = SMALL, ready_s: float | None = 100, pid: int = 1) -> Seen:
    return Seen(pid, ready_s, memory)


BIG_A = {A: seen(BIG), B: seen(pid=2)}
CAUSE = "it took 1500 MB, more than its limit of 1000 MB"
REPLACE_A = Replace(A, CAUSE)


def wait(why: str) -> Wait:
    return Wait(A, CAUSE, why)


@pytest.mark.parametrize(
    ("records", "engines", "word", "order"),
    [
        ({A: OVER, B: FINE}, BIG_A, BOTH_SERVE, REPLACE_A),
        ({A: replace(OVER, times_over=2), B: FINE}, BIG_A, BOTH_SERVE, None),
        ({A: OVER, B: FINE}, BIG_A, None, wait("the gateway does not say who could answer meanwhile")),
        (
            {A: OVER, B: FINE},
            BIG_A,
            GatewayWord(frozenset({A}), is_loading=False),
            wait("tfserving does not answer with every live version"),
        ),
        ({A: OVER, B: FINE}, BIG_A, GatewayWord(frozenset({A, B}), is_loading=True), wait("a version is being loaded")),
        ({A: OVER, B: FINE}, BIG_A, GatewayWord(frozenset({B}), is_loading=False), REPLACE_A),
        (
            {A: OVER, B: FINE},
            {A: seen(BIG), B: seen(ready_s=None, pid=2)},
            BOTH_SERVE,
            wait("tfserving has not been up for 10 s"),
        ),
        (
            {A: OVER, B: FINE},
            {A: seen(BIG), B: seen(ready_s=9, pid=2)},
            BOTH_SERVE,
            wait("tfserving has not been up for 10 s"),
        ),
        (
            {A: OVER, B: FINE},
            {A: seen(BIG, ready_s=9), B: seen(pid=2)},
            BOTH_SERVE,
            wait("it has only just come up"),
        ),
        ({A: OVER}, {A: seen(BIG)}, BOTH_SERVE, wait("there is no other engine")),
        (
            {A: replace(OVER, replaced_at=NOW - 59, replaced_in_a_row=1), B: FINE},
            BIG_A,
            BOTH_SERVE,
            wait("it was replaced less than 60 s ago"),
        ),
        ({A: replace(OVER, replaced_at=NOW - 60, replaced_in_a_row=1), B: FINE}, BIG_A, BOTH_SERVE, REPLACE_A),
        (
            {A: replace(OVER, replaced_at=NOW - 119, replaced_in_a_row=2), B: FINE},
            BIG_A,
            BOTH_SERVE,
            wait("it was replaced less than 120 s ago"),
        ),
        (
            {A: OVER, B: replace(FINE, replaced_at=NOW - 59, replaced_in_a_row=1)},
            BIG_A,
            BOTH_SERVE,
            wait("another was replaced less than 60 s ago"),
        ),
        ({A: OVER, B: replace(FINE, replaced_at=NOW - 60, replaced_in_a_row=1)}, BIG_A, BOTH_SERVE, REPLACE_A),
        ({A: FINE, B: FINE}, {A: seen(), B: seen(pid=2)}, BOTH_SERVE, None),
    ],
)
def test_orders(records: Records, engines: Mapping[str, Seen], word: GatewayWord | None, order: object) -> None:
    assert next_order(records, engines, word, NOW, LIMITS) == order


def test_of_two_the_worse_one_goes_first_and_the_other_waits() -> None:
    records: Records = {A: OVER, B: replace(OVER, pid=2)}
    engines = {A: seen(1500 * MEGABYTE), B: seen(1600 * MEGABYTE, pid=2)}
    order = next_order(records, engines, BOTH_SERVE, NOW, LIMITS)
    assert order == Replace(B, "it took 1600 MB, more than its limit of 1000 MB")
    records = replaced(records, B, NOW, LIMITS)
    still = next_order(records, engines | {B: seen(ready_s=None, pid=2)}, BOTH_SERVE, NOW + 1, LIMITS)
    assert still == wait("another was replaced less than 60 s ago")
    later = next_order(records, engines | {B: seen(ready_s=30, pid=3)}, BOTH_SERVE, NOW + 60, LIMITS)
    assert later == REPLACE_A


def test_the_one_that_can_be_replaced_does_not_wait_for_the_worse_one() -> None:
    records = {A: OVER, B: replace(OVER, pid=2)}
    engines = {A: seen(1500 * MEGABYTE), B: seen(1600 * MEGABYTE, pid=2)}
    word = GatewayWord(frozenset({B}), is_loading=False)
    assert next_order(records, engines, word, NOW, LIMITS) == REPLACE_A


def after(measurements: list[Seen], limits: GuardLimits, before: Record | None = None) -> Record:
    records: Records = {A: before} if before else {}
    for measurement in measurements:
        records = noted(records, {A: measurement}, limits)
    return records[A]


@pytest.mark.parametrize(
    ("measurements", "times_over"),
    [
        ([seen(BIG)] * 3, 3),
        ([seen(BIG), seen(BIG), seen(1000 * MEGABYTE), seen(BIG)], 1),
        ([seen(BIG), seen(BIG), seen(None), seen(BIG)], 1),
        ([seen(BIG), seen(BIG), seen(BIG, ready_s=None)], 0),
        ([seen(BIG), seen(BIG), seen(BIG, pid=9)], 1),
    ],
    ids=["on end", "at its limit is not over", "not measured", "not ready", "another process"],
)
def test_over_the_limit_means_measurements_on_end(measurements: list[Seen], times_over: int) -> None:
    record = after(measurements, LIMITS)
    assert record.times_over == times_over
    assert has_suspects({A: record}) == (times_over > 0)


def test_the_limit_follows_from_what_the_engine_took_after_30_s() -> None:
    young = after([seen(BIG, ready_s=29)], DERIVED)
    assert limit_bytes(A, young, DERIVED) is None, "it is still loading"
    small = after([seen(SMALL, ready_s=30), seen(BIG, ready_s=60)], DERIVED)
    assert limit_bytes(A, small, DERIVED) == SMALL + GIBIBYTE
    big = after([seen(3 * GIBIBYTE, ready_s=31)], DERIVED)
    assert limit_bytes(A, big, DERIVED) == 6 * GIBIBYTE
    renewed = after([seen(BIG, ready_s=5, pid=7)], DERIVED, before=big)
    assert limit_bytes(A, renewed, DERIVED) is None, "another process has another baseline"
    assert after([seen(SMALL + GIBIBYTE + 1)] * 3, DERIVED, before=small).times_over == 3


def test_a_limit_of_0_is_none() -> None:
    off = GuardLimits({A: 0})
    assert after([seen(100 * GIBIBYTE)] * 5, off).times_over == 0


def test_an_engine_that_grows_again_and_again_is_left_alone_ever_longer() -> None:
    records: Records = {A: Record(1)}
    now, pauses = NOW, []
    for _ in range(8):
        records = replaced(records, A, now, LIMITS)
        pauses.append(pause_s(records[A], LIMITS))
        now += pauses[-1]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    calm = replaced(records, A, now + 7200, LIMITS)
    assert pause_s(calm[A], LIMITS) == 60, "it has been well for long"


def test_the_pause_outlives_the_process() -> None:
    records = replaced({A: OVER}, A, NOW, LIMITS)
    assert noted(records, {A: seen(BIG, ready_s=5, pid=5)}, LIMITS)[A] == Record(5, None, 1, NOW, 1)


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        ({}, {}),
        ({"TWINSERVE_ENGINE_MEMORY_LIMIT_MB": "900"}, {A: 900 * MEGABYTE, B: 900 * MEGABYTE}),
        ({"TWINSERVE_TFSERVING_MEMORY_LIMIT_MB": "0"}, {B: 0}),
        (
            {"TWINSERVE_ENGINE_MEMORY_LIMIT_MB": "0", "TWINSERVE_TORCHSERVE_MEMORY_LIMIT_MB": "70"},
            {A: 70 * MEGABYTE, B: 0},
        ),
        (
            {"TWINSERVE_ENGINE_MEMORY_LIMIT_MB": "900", "TWINSERVE_TORCHSERVE_MEMORY_LIMIT_MB": ""},
            {A: 900 * MEGABYTE, B: 900 * MEGABYTE},
        ),
        ({"TWINSERVE_ENGINE_MEMORY_LIMIT_MB": ""}, {}),
    ],
)
def test_limits_from_the_environment(environment: Mapping[str, str], given: Mapping[str, int]) -> None:
    assert limits_from(environment, (A, B)) == GuardLimits(given)


@pytest.mark.parametrize("text", [" ", "-1", "1.5", "2GB"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"TWINSERVE_ENGINE_MEMORY_LIMIT_MB='.*' is not a number of megabytes"):
        limits_from({"TWINSERVE_ENGINE_MEMORY_LIMIT_MB": text}, (A, B))
