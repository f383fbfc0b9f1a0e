"""The fixed list of operators in TensorFlow: by the names of workers.factors.operators.

Images come in the list's NCHW layout and go back in it: TensorFlow's CPU kernels take NHWC, and OIHW kernels as HWIO.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Operator = Callable[..., Any]


def _last(image: tf.Tensor) -> tf.Tensor:
    return tf.transpose(image, (0, 2, 3, 1))


def _first(image: tf.Tensor) -> tf.Tensor:
    return tf.transpose(image, (0, 3, 1, 2))


def _depthwise(image: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return _first(tf.nn.depthwise_conv2d(_last(image), tf.transpose(kernel, (2, 3, 0, 1)), (1, 1, 1, 1), "VALID"))


def _normal_rows(rows: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(rows, 1, keepdims=True)
    return tf.nn.batch_normalization(rows, mean, variance, None, None, 1e-5)


def _attention(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True) / tf.sqrt(8.0)) @ values


def _halve(rows: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda r: tf.reduce_sum(tf.abs(r)) > 1, lambda r: (r / 2,), (rows,))[0]


OPERATORS: Mapping[str, Operator] = {
    "matmul": lambda a, b: a @ b,
    "batched matmul": tf.matmul,
    "einsum": lambda a, b: tf.einsum("ij,jk->ki", a, b),
    "inverse": tf.linalg.inv,
    "cholesky": tf.linalg.cholesky,
    "singular values": lambda a: tf.linalg.svd(a, compute_uv=False),
    "determinant": tf.linalg.det,
    "real FFT": lambda signal: tf.abs(tf.signal.rfft(signal)),
    "sparse matmul": lambda a, b: tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(a), b),
    "convolution": lambda image, kernel: _first(
        tf.nn.conv2d(_last(image), tf.transpose(kernel, (2, 3, 1, 0)), 1, "VALID")
    ),
    "depthwise convolution": _depthwise,
    "max pool": lambda image: _first(tf.nn.max_pool2d(_last(image), 2, 2, "VALID")),
    "average pool": lambda image: _first(tf.nn.avg_pool2d(_last(image), 2, 2, "VALID")),
    "nearest resize": lambda image: _first(tf.image.resize(_last(image), (16, 16), "nearest")),
    "reflect pad": lambda image: tf.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), "REFLECT"),
    "batch norm": lambda image: tf.nn.batch_normalization(image, 0.0, 1.0, None, None, 1e-5),
    "softmax": tf.nn.softmax,
    "log softmax": tf.nn.log_softmax,
    "layer norm": _normal_rows,
    "GELU": tf.nn.gelu,
    "SiLU": tf.nn.silu,
    "attention": _attention,
    "embedding": tf.nn.embedding_lookup,
    "uppercase strings": tf.strings.upper,
    "gather along an axis": lambda rows, index: tf.gather(rows, index, batch_dims=1),
    "scatter add": lambda rows, index: tf.tensor_scatter_nd_add(tf.zeros((4, 6)), index[:, None], rows),
    "sort": tf.sort,
    "top k": lambda rows: tf.math.top_k(rows, 2).values,
    "cumulative sum": lambda rows: tf.cumsum(rows, 1),
    "one-hot": lambda numbers: tf.one_hot(numbers, 4),
    "unique": lambda numbers: tf.sort(tf.unique(numbers).y),
    "boolean mask": lambda rows: tf.boolean_mask(rows, rows > 0),
    "nonzero": tf.where,
    "loop until a value is small": _halve,
    "branch on a value": lambda rows: tf.cond(tf.reduce_sum(rows) > 0, lambda: rows * 2, lambda: rows * 3),
}
"""What is not here TensorFlow has no operator for."""
