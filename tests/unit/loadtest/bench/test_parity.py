"""Parity on a GPU, as far as it is pure, and memory as nvidia-smi prints it."""

import numpy as np
import pytest

from loadtest.bench.gpu import parse_memory
from loadtest.bench.gpu_tables import parity_table
from loadtest.bench.parity import FP16_LIMIT, FP32_LIMIT, compare_logits

KNOWN = np.array([[0.0, 1.0], [20.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("off", "limit", "is_kept"), [(5e-4, FP32_LIMIT, True), (2e-3, FP32_LIMIT, False), (2e-3, FP16_LIMIT, True)]
)
def test_the_largest_difference_decides(off: float, limit: float, is_kept: bool) -> None:
    parity = compare_logits("x", limit, KNOWN, KNOWN + np.array([[0, 0], [0, off]], np.float32))
    assert parity.difference == pytest.approx(off, rel=1e-3)
    assert parity.is_kept is is_kept
    assert ("**no**" in parity_table([parity])) is not is_kept


def test_another_label_is_never_parity() -> None:
    close = np.array([[1.0, 1.01]], np.float32)
    parity = compare_logits("x", FP16_LIMIT, close, close[:, ::-1])
    assert (parity.labels_wrong, parity.is_kept) == (1, False)


@pytest.mark.parametrize("answer", [KNOWN[:1], np.full_like(KNOWN, np.nan)])
def test_what_is_no_answer_is_not_parity(answer: np.ndarray) -> None:
    parity = compare_logits("x", FP16_LIMIT, KNOWN, answer)
    assert (parity.difference, parity.labels_wrong, parity.is_kept) == (None, 2, False)
    assert "**no**" in parity_table([parity])


def test_memory_is_read_from_lines_of_mebibytes() -> None:
    assert parse_memory("123, 10\n456, 2\n") == [(123, 10 * 2**20), (456, 2 * 2**20)]
    assert parse_memory("80\n") == [(80 * 2**20,)]
    with pytest.raises(ValueError, match="Not Supported"):
        parse_memory("[Not Supported]\n")
