"""The MNIST loader, on a tiny data set of its own."""

import gzip
import hashlib
import struct
from pathlib import Path

import httpx2
import numpy as np
import pytest

from workers import mnist
from workers.mnist import MnistError, Split, decode_idx, fetch_missing, load_mnist, shuffled_batches


def idx(shape: tuple[int, ...], data: bytes) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + data


FILES = {
    mnist.TRAIN_IMAGES: idx((3, 2, 2), bytes(range(0, 24, 2))),
    mnist.TRAIN_LABELS: idx((3,), b"\x01\x02\x03"),
    mnist.TEST_IMAGES: idx((1, 2, 2), b"\x00\x33\x66\xff"),
    mnist.TEST_LABELS: idx((1,), b"\x07"),
}
CHECKSUMS = {name: hashlib.md5(data).hexdigest() for name, data in FILES.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files plain, two compressed."""
    for index, (name, data) in enumerate(FILES.items()):
        if index % 2:
            (tmp_path / name).write_bytes(data)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    return tmp_path


def test_loads_plain_and_compressed_files(folder: Path) -> None:
    data = load_mnist(folder, CHECKSUMS)
    assert data.train.images.shape == (3, 2, 2)
    assert data.train.images.dtype == np.float32
    np.testing.assert_allclose(data.test.images[0], [[0, 0.2], [0.4, 1]], atol=1e-7)
    assert data.train.labels.tolist() == [1, 2, 3]
    assert data.test.labels.dtype == np.int64


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / mnist.TEST_LABELS).unlink()
    with pytest.raises(MnistError, match=f"neither {mnist.TEST_LABELS} nor {mnist.TEST_LABELS}.gz"):
        load_mnist(folder, CHECKSUMS)


def test_a_changed_file_is_refused(folder: Path) -> None:
    (folder / mnist.TEST_LABELS).write_bytes(idx((1,), b"\x08"))
    with pytest.raises(MnistError, match=r"is not MNIST's: MD5 .* expected"):
        load_mnist(folder, CHECKSUMS)


def test_a_damaged_archive_is_told(folder: Path) -> None:
    path = folder / f"{mnist.TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(MnistError, match="damaged gzip file"):
        load_mnist(folder, CHECKSUMS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG", "begins with 89504e47"),
        (idx((3,), b"")[:6], "ends inside its header"),
        (idx((3,), b"ab"), "must hold 3 bytes, not 2"),
    ],
)
def test_what_is_no_idx_file_is_told(data: bytes, message: str) -> None:
    with pytest.raises(MnistError, match=message):
        decode_idx(data)


def served(answers: dict[str, bytes], seen: list[str]) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        content = answers.get(str(request.url))
        return httpx2.Response(404) if content is None else httpx2.Response(200, content=content)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def test_downloads_what_is_missing_from_the_first_good_mirror(folder: Path) -> None:
    (folder / mnist.TEST_LABELS).unlink()
    good = gzip.compress(FILES[mnist.TEST_LABELS])
    urls = [f"{mirror}{mnist.TEST_LABELS}.gz" for mirror in mnist.MIRRORS]
    seen: list[str] = []
    fetch_missing(folder, served({urls[0]: gzip.compress(b"something else"), urls[1]: good}, seen), CHECKSUMS)
    assert seen == urls
    assert load_mnist(folder, CHECKSUMS).test.labels.tolist() == [7]


def test_when_no_mirror_helps_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MnistError, match=r"cannot download .*: answered 404.* name that folder with --data"):
        fetch_missing(tmp_path / "cache", served({}, []), CHECKSUMS)
    assert not list((tmp_path / "cache").iterdir())


def test_batches_cover_an_epoch_and_move_images_whole() -> None:
    images = np.zeros((7, 5, 5), np.float32)
    images[:, 2, 2] = np.arange(1, 8)
    batches = list(shuffled_batches(Split(images, np.arange(1, 8)), 3, 1, np.random.default_rng(0)))
    assert [len(batch.labels) for batch in batches] == [3, 3, 1]
    assert sorted(label for batch in batches for label in batch.labels) == list(range(1, 8))
    for batch in batches:
        np.testing.assert_array_equal(batch.images.sum((1, 2)), batch.labels)
        np.testing.assert_array_equal(batch.images[:, 1:4, 1:4].sum((1, 2)), batch.labels)
