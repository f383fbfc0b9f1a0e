"""MNIST's test images as a file of inputs: `python -m workers.test_set --data DIR --input images --out test.npz`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.golden import Golden, write_golden
from workers.mnist import MnistError, load_test_split


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.test_set", description="Write test images as inputs.")
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--input", required=True, help="the name of the input that takes the images")
    parser.add_argument("--dark-on-light", action="store_true", help="invert the images, which are light on dark")
    parser.add_argument("--out", type=Path, required=True, help="npz to write")
    given = parser.parse_args(arguments)
    try:
        test = load_test_split(given.data)
        images = 1 - test.images if given.dark_on_light else test.images
        write_golden(given.out, Golden(inputs={given.input: images}, labels=test.labels))
    except (MnistError, OSError) as error:
        sys.stderr.write(f"workers.test_set: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
