"""Who waits, who goes next, and with whom."""

from random import Random
from typing import NamedTuple

import pytest

from gateway.core.line import Line


class Asked(NamedTuple):
    """A request of the tables: a name, its rows, one byte each unless told."""

    name: str
    rows: int
    key: str | None = "a"
    bytes_a_row: int = 1
    can_part: bool = True


def waiting(*requests: Asked) -> Line[str]:
    line = Line[str]()
    for name, rows, key, bytes_a_row, can_part in requests:
        line.push(name, rows, rows * bytes_a_row, key, can_part)
    return line


def told(batch: list[tuple[str, int, int]]) -> str:
    return " ".join(f"{name}[{start}:{stop}]" for name, start, stop in batch)


def one_by_one(names: str, key: str = "a") -> list[Asked]:
    return [Asked(name, 1, key) for name in names]


@pytest.mark.parametrize(
    ("requests", "batches", "why"),
    [
        ([], [], "nobody waits"),
        (one_by_one("xyz"), ["x[0:1] y[0:1] z[0:1]"], "everything that waits"),
        ([Asked("x", 5), Asked("y", 3), Asked("z", 1)], ["x[0:5] y[0:3]", "z[0:1]"], "up to the limit"),
        (
            [Asked("x", 5), Asked("y", 4), Asked("z", 1)],
            ["x[0:5]", "y[0:4] z[0:1]"],
            "small ones: not cut, not overtaken",
        ),
        ([Asked("big", 20)], ["big[0:8]", "big[8:16]", "big[16:20]"], "what no batch holds goes in parts"),
        (
            [Asked("big", 20), *one_by_one("xyz")],
            ["big[0:8]", "x[0:1] y[0:1] z[0:1] big[8:13]", "big[13:20]"],
            "small ones behind it wait for one part of it",
        ),
        (
            [Asked("x", 3), Asked("big", 20)],
            ["x[0:3] big[0:5]", "big[5:13]", "big[13:20]"],
            "it fills what room is left",
        ),
        (
            [Asked("x", 6), Asked("big", 20), Asked("y", 6)],
            ["x[0:6] big[0:2]", "big[2:10]", "y[0:6] big[10:12]", "big[12:20]"],
            "for a crumb it does not lose its place",
        ),
        ([Asked("u", 20), Asked("v", 20)], ["u[0:8]", "v[0:8]", "u[8:16]", "v[8:16]", "u[16:20] v[16:20]"], "in turns"),
        (
            [Asked("x", 1), Asked("whole", 20, can_part=False)],
            ["x[0:1]", "whole[0:20]"],
            "what cannot be parted goes whole",
        ),
        ([Asked("whole", 20, can_part=False), Asked("x", 1)], ["whole[0:20]", "x[0:1]"], "… and alone"),
        ([Asked("whole", 4, can_part=False), Asked("x", 1)], ["whole[0:4] x[0:1]"], "… when it is over the limit"),
        (
            [*one_by_one("xy", "a"), *one_by_one("pq", "b"), *one_by_one("z", "a")],
            ["x[0:1] y[0:1] z[0:1]", "p[0:1] q[0:1]"],
            "only equal keys together",
        ),
        (
            [Asked("u", 8, "a"), Asked("v", 8, "a"), Asked("w", 8, "a"), Asked("x", 1, "b"), Asked("y", 1, "c")],
            ["u[0:8]", "x[0:1]", "y[0:1]", "v[0:8]", "w[0:8]"],
            "keys take turns",
        ),
        ([Asked("x", 1, None), Asked("y", 1, None)], ["x[0:1]", "y[0:1]"], "no key: with nobody"),
        ([Asked("x", 1, "a", 60), Asked("y", 1, "a", 41)], ["x[0:1]", "y[0:1]"], "bytes are limited too"),
        ([Asked("big", 6, "a", 30)], ["big[0:3]", "big[3:6]"], "… and part what is over them"),
        ([Asked("x", 1), Asked("big", 2, "a", 500)], ["x[0:1]", "big[0:1]", "big[1:2]"], "one row is never cut"),
        ([Asked("none", 0), Asked("x", 1)], ["none[0:0] x[0:1]"], "no rows at all"),
    ],
)
def test_batches_of_8_rows_and_100_bytes(requests: list[Asked], batches: list[str], why: str) -> None:
    line = waiting(*requests)
    taken = []
    while line:
        taken.append(told(line.take(8, 100)))
        assert len(taken) <= len(batches), taken
    assert taken == batches, why
    assert line.rows == 0
    assert line.take(8, 100) == []


def test_who_is_removed_leaves_the_counts_at_once_and_nobody_else() -> None:
    line = waiting(Asked("big", 20), Asked("x", 1), Asked("y", 2), Asked("z", 1, "b"))
    assert (line.rows, len(line), [*line]) == (24, 4, ["big", "x", "y", "z"])
    assert line.remove("x") == 1
    assert told(line.take(8)) == "big[0:8]"
    assert line.rows == 15, "what was taken does not wait"
    assert line.remove("big") == 12, "the rest of it"
    assert line.remove("big") == line.remove("never came") == 0
    assert line.remove("z") == 1, "the last of its key"
    assert (line.rows, len(line)) == (2, 1)
    assert told(line.take(8)) == "y[0:2]"
    line.push("x", 1, 1, "a")
    assert told(line.take(8)) == "x[0:1]", "who has left may come again"


def test_an_item_cannot_wait_twice() -> None:
    line = waiting(Asked("x", 1))
    with pytest.raises(ValueError, match="does not wait yet"):
        line.push("x", 1, 1, "b")


@pytest.mark.parametrize(
    ("requests", "is_full", "why"),
    [
        ([], False, "nobody waits"),
        ([Asked("x", 7)], False, "another row has room"),
        ([Asked("x", 7), Asked("y", 1)], True, "none has"),
        ([Asked("big", 20)], True, "nor here"),
        ([Asked("x", 1, "a", 100)], True, "no byte has"),
        ([Asked("x", 1, None)], True, "it would never share its batch"),
        ([Asked("x", 1, "a"), Asked("y", 8, "b")], True, "the key after it has"),
        ([Asked("y", 8, "b"), Asked("x", 1, "a")], True, "this one has"),
    ],
)
def test_full_is_what_waiting_cannot_make_larger(requests: list[Asked], is_full: bool, why: str) -> None:
    assert waiting(*requests).full(8, 100) is is_full, why


def test_a_large_request_comes_to_its_end_among_a_stream_of_small_ones() -> None:
    line = waiting(Asked("big", 400))
    batches = sent = 0
    while "big" in [*line]:
        for _ in range(8):  # as many as a batch holds, each time: the line never empties
            line.push(f"small {sent}", 1, 1, "a")
            sent += 1
        line.take(8)
        batches += 1
        assert batches < 2000, "it starves"
    assert line.rows > 0


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_and_goes_every_row_is_taken_once(seed: int) -> None:
    dice = Random(seed)
    line = Line[int]()
    waits: dict[int, list[int]] = {}  # the rows of each that have not gone
    rows_of = [dice.choice([1, 1, 1, 2, 5, 8, 9, 30]) for _ in range(300)]
    came = 0
    while came < len(rows_of) or line:
        what = dice.random()
        if what < 0.5 and came < len(rows_of):
            line.push(came, rows_of[came], rows_of[came], came % 3)
            waits[came] = [*range(rows_of[came])]
            came += 1
        elif what < 0.6 and waits:
            item = dice.choice([*waits])
            assert line.remove(item) == len(waits.pop(item))
        else:
            limit = dice.choice([4, 8, 16])
            batch = line.take(limit)
            assert sum(stop - start for _, start, stop in batch) <= limit
            assert len({item % 3 for item, _, _ in batch}) <= 1, "one key"
            for item, start, stop in batch:
                assert waits[item][: stop - start] == [*range(start, stop)]
                assert stop - start == len(waits[item]) or len(waits[item]) > limit, "what fits a batch is not cut"
                del waits[item][: stop - start]
                if not waits[item]:
                    del waits[item]
        assert line.rows == sum(map(len, waits.values()))
        assert [*line] == [*waits]


def test_a_full_batch_may_go_before_the_key_whose_turn_it_is() -> None:
    line = waiting(Asked("x", 1, "a"), Asked("y", 8, "b"))
    assert line.take(8, 100, full_first=True) == [("y", 0, 8)]
    assert line.take(8, 100, full_first=True) == [("x", 0, 1)], "none is full"
    assert line.rows == len(line) == 0
