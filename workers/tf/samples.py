"""Small SavedModels of the kinds a model server meets, for trying one out and for testing it.

`python -m workers.tf.samples DIR` writes version 1 of each below DIR/<name>/:

    half_plus_two   TF1: ref variables, Predict, and Classify and Regress over parsed tf.Examples
    sums            several inputs and outputs, one of them without rows
    words           strings in and out
    counter         state: a variable that every request adds to
    ranker          the model of workers.ranker, which workers.torch.samples writes as TorchScript
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from workers.ranker import BIAS, IDS, NAME, SLOW_HELP, SLOW_SIDE, TABLE

v1 = tf.compat.v1

VERSION = "1"
_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"
_PREDICT = "tensorflow/serving/predict"


class Sums(tf.Module):
    """`a` and `b`, FP32 [N,2] each, to their `sum` and `difference` FP32 [N,2] and the number of `rows`, INT32 []."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="a"),
            tf.TensorSpec([None, 2], tf.float32, name="b"),
        ]
    )
    def both(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        """The default signature."""
        return {"sum": a + b, "difference": a - b}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a")])
    def count(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        """A scalar output, which REST can only tell in columns."""
        return {"rows": tf.shape(a)[0]}


class Words(tf.Module):
    """`text`, string [N], to `upper`, the same in capitals, and to `reversed_bytes`, which REST tells in base64."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def shout(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The default signature."""
        letters = tf.strings.bytes_split(text)
        return {
            "upper": tf.strings.upper(text),
            "reversed_bytes": tf.strings.reduce_join(tf.reverse(letters.to_tensor(), [1]), axis=1),
        }


class Counter(tf.Module):
    """`step`, INT64 [], is added to the `total`, INT64 [], which lives as long as the version does."""

    def __init__(self) -> None:
        super().__init__()
        self.total = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="step")])
    def add(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """The default signature."""
        return {"total": self.total.assign_add(step, read_value=True)}


class Ranker(tf.Module):
    """`ids` INT64 [N,4] and `scale` FP32 [N,1] to `scores` FP32 [N,3] and `top` INT64 [N], as workers.ranker says.

    `slow_steps` multiplications of matrices come before the answer and do not change it.
    """

    def __init__(self, slow_steps: int = 0) -> None:
        super().__init__()
        self.table, self.bias = tf.Variable(TABLE), tf.Variable(BIAS)
        self.ballast = tf.Variable(tf.eye(SLOW_SIDE))
        self.slow_steps = slow_steps

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4], tf.int64, name="ids"),
            tf.TensorSpec([None, 1], tf.float32, name="scale"),
        ]
    )
    def rank(self, ids: tf.Tensor, scale: tf.Tensor) -> dict[str, tf.Tensor]:
        """The default signature."""
        chosen = tf.gather(self.table, tf.clip_by_value(ids, 0, IDS - 1))
        scores = tf.tanh(tf.reduce_sum(chosen, 1)) * scale + self.bias
        turned = tf.identity(self.ballast)
        for _ in tf.range(self.slow_steps):
            turned = tf.matmul(turned, self.ballast)
        # Nought, but no compiler sees that: the squares' least value is.
        scores += tf.reduce_min(tf.square(turned))
        return {"scores": scores, "top": tf.argmax(scores, 1)}


def write_half_plus_two(path: Path) -> None:
    """`x` FP32 to `y` = x / 2 + 2, as TF1 exported it.

    Classify and Regress take tf.Examples with the feature `x` and, where the signature names it, `x2`, both FP32 [1];
    y2 and y3 add 3 instead of 2.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        two = v1.get_variable("two", initializer=2.0, use_resource=False)
        three = v1.get_variable("three", initializer=3.0, use_resource=False)
        examples = v1.placeholder(tf.string, [None], name="examples")
        column = tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32), "x2": column})
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(half * x, two, name="y")
        y2 = tf.add(half * x, three, name="y2")
        y3 = tf.add(half * parsed["x2"], three, name="y3")
        labels = tf.tile(tf.constant([["half", "plus two"]]), [tf.shape(x)[0], 1])
        signatures = {
            "serving_default": _signature({"x": x}, {"y": y}, _PREDICT),
            "regress_x_to_y": _signature({"inputs": examples}, {"outputs": y}, _REGRESS),
            "regress_x_to_y2": _signature({"inputs": examples}, {"outputs": y2}, _REGRESS),
            "regress_x2_to_y3": _signature({"inputs": examples}, {"outputs": y3}, _REGRESS),
            "classify_x_to_y": _signature({"inputs": examples}, {"scores": y}, _CLASSIFY),
            "classify_labels": _signature(
                {"inputs": examples}, {"classes": labels, "scores": tf.concat([half * x, y], 1)}, _CLASSIFY
            ),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def write_sums(path: Path) -> None:
    """Write `Sums`."""
    sums = Sums()
    tf.saved_model.save(sums, str(path), signatures={"serving_default": sums.both, "count": sums.count})


def write_words(path: Path) -> None:
    """Write `Words`."""
    words = Words()
    tf.saved_model.save(words, str(path), signatures={"serving_default": words.shout})


def write_counter(path: Path) -> None:
    """Write `Counter`."""
    counter = Counter()
    tf.saved_model.save(counter, str(path), signatures={"serving_default": counter.add})


def write_ranker(path: Path, slow_steps: int = 0) -> None:
    """Write `Ranker`."""
    model = Ranker(slow_steps)
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.rank})


SAMPLES: dict[str, Callable[[Path], None]] = {
    "half_plus_two": write_half_plus_two,
    "sums": write_sums,
    "words": write_words,
    "counter": write_counter,
    NAME: write_ranker,
}


def write_samples(folder: Path, names: Iterable[str] = SAMPLES, slow_steps: int = 0) -> None:
    """Write every sample named that is not there yet; `slow_steps` is for the ranker. Raises OSError."""
    for name in names:
        target = folder / name / VERSION
        if target.exists():
            continue
        # A server that watches the folder must not see a half of it.
        staged = folder / name / f".staging-{VERSION}"
        if name == NAME:
            write_ranker(staged, slow_steps)
        else:
            SAMPLES[name](staged)
        staged.rename(target)


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> Any:
    infos = [
        {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in side.items()}
        for side in (inputs, outputs)
    ]
    return v1.saved_model.build_signature_def(*infos, method)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.tf.samples", description="Write sample SavedModels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=SAMPLES, help="write this sample; may be repeated")
    parser.add_argument("--slow-steps", type=int, default=0, help=f"of the ranker: {SLOW_HELP}")
    given = parser.parse_args(arguments)
    try:
        write_samples(given.folder, given.only or SAMPLES, given.slow_steps)
    except OSError as error:
        sys.stderr.write(f"workers.tf.samples: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
