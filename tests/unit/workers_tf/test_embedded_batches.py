"""Queues of batches, without threads: what goes together, when, and what there is no room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers.tf.embedded.batch_queues import BatchQueue, QueueLimits
from workers.tf.embedded.batching import Batching, read_batching
from workers.tf.embedded.faults import Code, Fault


@dataclass(frozen=True)
class Item:
    size: int


def queue(batches: int = 2) -> BatchQueue[Item]:
    return BatchQueue(QueueLimits(batch_size=4, timeout_s=10.0, batches=batches), lambda items: None)


def sizes(items: Sequence[Item]) -> list[int]:
    return [item.size for item in items]


def test_an_open_batch_waits_and_a_full_one_does_not() -> None:
    waiting = queue()
    assert waiting.ready_s() is None
    waiting.put([Item(3)], now_s=100.0)
    assert waiting.ready_s() == 110.0
    waiting.put([Item(1)], now_s=105.0)
    assert waiting.ready_s() == 0.0
    assert sizes(waiting.take()) == [3, 1]
    assert waiting.ready_s() is None


def test_what_does_not_fit_opens_the_next_batch_and_closes_the_one_before() -> None:
    waiting = queue()
    waiting.put([Item(3)], now_s=100.0)
    waiting.put([Item(2)], now_s=101.0)
    waiting.put([Item(1)], now_s=102.0)
    assert waiting.ready_s() == 0.0
    assert sizes(waiting.take()) == [3]
    assert waiting.ready_s() == 111.0
    assert sizes(waiting.take()) == [2, 1]


def test_a_full_queue_takes_all_pieces_of_a_request_or_none() -> None:
    waiting = queue()
    waiting.put([Item(2)], now_s=0.0)
    with pytest.raises(Fault) as caught:
        waiting.put([Item(4), Item(4)], now_s=0.0)
    assert caught.value.code is Code.UNAVAILABLE
    assert "currently 1 batches enqueued and max_enqueued_batches is 2" in caught.value.message
    assert sizes(waiting.take()) == [2]
    waiting.put([Item(4), Item(4)], now_s=0.0)
    assert [sizes(waiting.take()), sizes(waiting.take())] == [[4], [4]]


def test_an_empty_request_waits_too() -> None:
    waiting = queue()
    waiting.put([Item(0)], now_s=0.0)
    assert sizes(waiting.take()) == [0]


def test_parameters_have_defaults_and_are_read(tmp_path: Path) -> None:
    assert read_batching(None).max_batch_size == 1000
    file = tmp_path / "batching"
    file.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } allowed_batch_sizes: [2, 4] "
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"
    )
    batching = read_batching(file)
    assert (batching.max_batch_size, batching.execution_size, batching.timeout_s) == (8, 4, 0.002)
    assert [batching.padded_size(size) for size in (1, 2, 3, 4)] == [2, 2, 4, 4]
    assert Batching().padded_size(3) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allowed_batch_sizes: [4, 2]", "monotonically increasing"),
        ("allowed_batch_sizes: [2, 4]", "last entry was 4; expected 1000"),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive"),
        ("batch_timeout_micros { value: -1 }", "must be non-negative"),
        ("nonsense", "Invalid protobuf file"),
    ],
)
def test_parameters_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "batching").write_text(text)
    with pytest.raises(Fault, match=message):
        read_batching(tmp_path / "batching")
