"""A fresh process that answers one image from a SavedModel: `python -m workers.tf.factors.first_answer`."""

import sys
from collections.abc import Callable
from pathlib import Path

from workers.factors.cold import tell_start
from workers.factors.forwards import Forward, Images


def _imported() -> Callable[[Path], Forward]:
    import tensorflow as tf

    def load(path: Path) -> Forward:
        loaded = tf.saved_model.load(str(path))

        def answer(images: Images) -> Images:
            logits: Images = loaded.signatures["serving_default"](images=tf.constant(images))["logits"].numpy()
            return logits

        return answer

    return load


if __name__ == "__main__":
    sys.exit(tell_start("SavedModel", _imported))
