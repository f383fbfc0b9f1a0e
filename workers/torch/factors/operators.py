"""The fixed list of operators in PyTorch: by the names of workers.factors.operators."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

Operator = Callable[..., Any]


@torch.jit.script
def _halve(rows: torch.Tensor) -> torch.Tensor:
    while bool(rows.abs().sum() > 1):
        rows = rows / 2
    return rows


@torch.jit.script
def _branch(rows: torch.Tensor) -> torch.Tensor:
    if bool(rows.sum() > 0):
        return rows * 2
    return rows * 3


OPERATORS: Mapping[str, Operator] = {
    "matmul": lambda a, b: a @ b,
    "batched matmul": torch.bmm,
    "einsum": lambda a, b: torch.einsum("ij,jk->ki", a, b),
    "inverse": torch.linalg.inv,
    "cholesky": torch.linalg.cholesky,
    "singular values": torch.linalg.svdvals,
    "determinant": torch.linalg.det,
    "real FFT": lambda signal: torch.fft.rfft(signal).abs(),
    "sparse matmul": lambda a, b: torch.sparse.mm(a.to_sparse(), b),
    "convolution": functional.conv2d,
    "depthwise convolution": lambda image, kernel: functional.conv2d(image, kernel, groups=3),
    "max pool": lambda image: functional.max_pool2d(image, 2),
    "average pool": lambda image: functional.avg_pool2d(image, 2),
    "nearest resize": lambda image: functional.interpolate(image, scale_factor=2.0, mode="nearest"),
    "reflect pad": lambda image: functional.pad(image, (1, 1, 1, 1), mode="reflect"),
    "batch norm": lambda image: functional.batch_norm(image, torch.zeros(3), torch.ones(3)),
    "softmax": lambda rows: rows.softmax(1),
    "log softmax": lambda rows: rows.log_softmax(1),
    "layer norm": lambda rows: functional.layer_norm(rows, (6,)),
    "GELU": functional.gelu,
    "SiLU": functional.silu,
    "attention": functional.scaled_dot_product_attention,
    "embedding": lambda table, words: functional.embedding(words, table),
    "gather along an axis": lambda rows, index: rows.gather(1, index),
    "scatter add": lambda rows, index: torch.zeros(4, 6).index_add(0, index, rows),
    "sort": lambda rows: rows.sort(1).values,
    "top k": lambda rows: rows.topk(2, 1).values,
    "cumulative sum": lambda rows: rows.cumsum(1),
    "one-hot": lambda numbers: functional.one_hot(numbers, 4).float(),
    "unique": torch.unique,
    "boolean mask": lambda rows: rows[rows > 0],
    "nonzero": torch.nonzero,
    "loop until a value is small": _halve,
    "branch on a value": _branch,
}
"""What is not here PyTorch has no operator for."""
