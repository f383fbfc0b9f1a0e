"""Loads a SavedModel and asks it: `python -m workers.tf.factors.served_operator FOLDER [LIBRARY]`."""

import sys
from pathlib import Path

import tensorflow as tf

from workers.factors.extension import Operator, tell_served


def _load(artifact: Path, library: Path | None) -> Operator:
    if library:
        tf.load_op_library(str(library))
    loaded = tf.saved_model.load(str(artifact))
    return lambda given: loaded.ask(tf.constant(given)).numpy()


if __name__ == "__main__":
    sys.exit(tell_served(_load))
