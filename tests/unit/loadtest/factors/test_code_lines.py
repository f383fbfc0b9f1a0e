"""What counts as a line of code, and as a name of a framework."""

import pytest

from loadtest.factors.code_lines import count_code_lines, framework_names


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ('"""A docstring.\n\nOf three lines.\n"""\n', 0),
        ("# a comment\n\n\nx = 1  # with another\n", 1),
        ('def f():\n    """Says."""\n    return 1\n', 2),
        ("x = (\n    1,\n    2,\n)\n", 4),
        ('text = """two\nlines"""\n', 2),
        ("if x:\n    y = 1\nelse:\n    y = 2\n", 4),
    ],
)
def test_lines_that_do_something_count(source: str, lines: int) -> None:
    assert count_code_lines(source) == lines


def test_names_are_whole_and_counted_once() -> None:
    source = """
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

class Network(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(images)) + np.float32(1)
"""
    assert framework_names(source, frozenset({"torch"})) == {
        "torch.nn.Module",
        "torch.Tensor",
        "torch.nn.functional.relu",
    }
