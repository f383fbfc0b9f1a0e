"""The MNIST data set: read from a folder or fetched once into a cache, and never used unverified.

The format is IDX (two zero bytes, element type, number of dimensions, big-endian sizes, then the elements), as its
authors describe it on the data set's page. Checksums are of the uncompressed files, so that any mirror's compression
will do.

Beside it, and as free of frameworks: `training`, what both training programs share, and `board`, what they show.
"""

import gzip
import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from contracts.atomic import write_atomic

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CHECKSUMS: Mapping[str, str] = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of each uncompressed file. It tells damage and mix-ups, not malice: nothing here is executed."""

_UNSIGNED_BYTE = 0x08
_DOWNLOAD_TIMEOUT_S = 30.0


class MnistError(Exception):
    """The data set is missing, damaged or out of reach; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Images float32 [N,28,28], 0..1, light on dark; labels int64 [N]."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Mnist:
    """60,000 images to learn from and 10,000 to be judged by."""

    train: Split
    test: Split


def default_cache() -> Path:
    """Where downloads are kept."""
    return Path.home() / ".cache" / "twinserve" / "mnist"


def load_mnist(folder: Path | None = None, checksums: Mapping[str, str] = CHECKSUMS) -> Mnist:
    """Load all four files from `folder`, or from the cache, which is filled first if need be. Raises MnistError."""
    if folder is None:
        folder = default_cache()
        with httpx2.Client(timeout=_DOWNLOAD_TIMEOUT_S, follow_redirects=True) as client:
            fetch_missing(folder, client, checksums)
    return Mnist(
        train=_load_split(folder, TRAIN_IMAGES, TRAIN_LABELS, checksums),
        test=_load_split(folder, TEST_IMAGES, TEST_LABELS, checksums),
    )


def load_test_split(folder: Path, checksums: Mapping[str, str] = CHECKSUMS) -> Split:
    """Load the 10,000 test images alone. Raises MnistError."""
    return _load_split(folder, TEST_IMAGES, TEST_LABELS, checksums)


def shuffled_batches(split: Split, batch_size: int, shift: int, generator: np.random.Generator) -> Iterator[Split]:
    """One epoch in random order, every image moved by up to `shift` pixels each way. The last batch may be smaller."""
    side = split.images.shape[1]
    order = generator.permutation(len(split.labels))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        padded = np.pad(split.images[chosen], ((0, 0), (shift, shift), (shift, shift)))
        windows = sliding_window_view(padded, (side, side), axis=(1, 2))
        rows, columns = generator.integers(0, 2 * shift + 1, size=(2, len(chosen)))
        yield Split(windows[np.arange(len(chosen)), rows, columns], split.labels[chosen])


def fetch_missing(folder: Path, client: httpx2.Client, checksums: Mapping[str, str] = CHECKSUMS) -> None:
    """Download what `folder` lacks, verified, each file wholly or not at all. Raises MnistError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, checksum in checksums.items():
        if _find(folder, name) is None:
            write_atomic(folder / f"{name}.gz", _download(name, checksum, client))


def decode_idx(data: bytes) -> NDArray[np.uint8]:
    """Decode one IDX file of unsigned bytes. Raises MnistError when it is none."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise MnistError(f"not an IDX file of unsigned bytes: it begins with {data[:4].hex() or 'nothing'}")
    dimensions = data[3]
    header_bytes = 4 + 4 * dimensions
    if len(data) < header_bytes:
        raise MnistError(f"IDX file ends inside its header, after {len(data)} bytes of {header_bytes}")
    shape = struct.unpack(f">{dimensions}I", data[4:header_bytes])
    if len(data) - header_bytes != math.prod(shape):
        raise MnistError(
            f"IDX file of shape {shape} must hold {math.prod(shape)} bytes, not {len(data) - header_bytes}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _load_split(folder: Path, images_name: str, labels_name: str, checksums: Mapping[str, str]) -> Split:
    images = decode_idx(_read(folder, images_name, checksums[images_name]))
    labels = decode_idx(_read(folder, labels_name, checksums[labels_name]))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise MnistError(
            f"{images_name} of shape {images.shape} and {labels_name} of shape {labels.shape} do not match"
        )
    return Split(images.astype(np.float32) / np.float32(255), labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read(folder: Path, name: str, checksum: str) -> bytes:
    path = _find(folder, name)
    if path is None:
        raise MnistError(f"{folder} holds neither {name} nor {name}.gz; it must hold {', '.join(CHECKSUMS)}")
    data = _uncompressed(path.read_bytes(), path)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise MnistError(f"{path} is not MNIST's: MD5 of its uncompressed bytes is {found}, expected {checksum}")
    return data


def _uncompressed(data: bytes, origin: object) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError) as error:
        raise MnistError(f"{origin} is a damaged gzip file: {error}") from error


def _download(name: str, checksum: str, client: httpx2.Client) -> bytes:
    """The gzip file from the first mirror that has it whole. Raises MnistError naming what each one answered."""
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            response = client.get(url)
            if response.status_code != httpx2.codes.OK:
                failures.append(f"{url}: answered {response.status_code}")
                continue
            found = hashlib.md5(_uncompressed(response.content, url), usedforsecurity=False).hexdigest()
        except (httpx2.HTTPError, MnistError) as error:
            failures.append(f"{url}: {error}")
            continue
        if found == checksum:
            return response.content
        failures.append(f"{url}: MD5 {found}, expected {checksum}")
    wanted = ", ".join(f"{file}[.gz]" for file in CHECKSUMS)
    raise MnistError(
        f"cannot download {name} ({'; '.join(failures)}). "
        f"Fetch {wanted} by other means into a folder and name that folder with --data."
    )
