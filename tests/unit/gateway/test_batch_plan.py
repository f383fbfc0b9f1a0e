"""Which waiting requests go into the next batch."""

import pytest

from gateway.core.batch_plan import BatchLimits, Candidate, plan_batch, plan_parts

LIMITS = BatchLimits(in_flight=2, batch_rows=8, queue_rows=100)


def waiting(*rows: int, keys: str | None = None) -> list[Candidate]:
    return [Candidate(count, key) for count, key in zip(rows, keys or "a" * len(rows), strict=True)]


@pytest.mark.parametrize(
    ("queue", "batches_out", "taken", "why"),
    [
        (waiting(), 0, 0, "nothing waits"),
        (waiting(1), 0, 1, "idle: at once, alone"),
        (waiting(1), 1, 1, "one batch out of two: at once"),
        (waiting(1, 1, 1), 2, 0, "all batches out: gather"),
        (waiting(1, 2, 3), 1, 3, "gathered ones go together"),
        (waiting(4, 4, 1), 0, 2, "up to the row limit"),
        (waiting(4, 5, 1), 0, 1, "the second would pass the limit, and is not overtaken by the third"),
        (waiting(50), 0, 1, "what is over the limit and cannot be parted goes alone"),
        (waiting(1, 50), 0, 1, "and is not stacked on another"),
        (waiting(1, 1, 1, keys="aab"), 0, 2, "only what can be stacked"),
        (waiting(1, 1, 1, keys="aba"), 0, 1, "without overtaking"),
    ],
)
def test_plan(queue: list[Candidate], batches_out: int, taken: int, why: str) -> None:
    assert plan_batch(queue, batches_out, LIMITS) == taken, why


def test_a_batch_is_bounded_in_bytes_too() -> None:
    limits = BatchLimits(batch_bytes=100)
    queue = [Candidate(1, "a", 60), Candidate(1, "a", 40), Candidate(1, "a", 1)]
    assert plan_batch(queue, 0, limits) == 2
    assert plan_batch([Candidate(1, "a", 500), *queue], 0, limits) == 1


@pytest.mark.parametrize(
    ("rows", "size_bytes", "parts"),
    [
        (9, 9, [8, 1]),
        (24, 24, [8, 8, 8]),
        (4, 400, [1, 1, 1, 1]),
        (8, 200, [4, 4]),
        (3, 10_000, [1, 1, 1]),
        (17, 0, [8, 8, 1]),
    ],
)
def test_a_large_request_is_cut_into_parts_within_the_limits(rows: int, size_bytes: int, parts: list[int]) -> None:
    cut = plan_parts(rows, size_bytes, BatchLimits(batch_rows=8, batch_bytes=100))
    assert [len(part) for part in cut] == parts
    assert [row for part in cut for row in part] == list(range(rows)), "every row once, in order"
