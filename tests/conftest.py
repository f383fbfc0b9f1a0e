"""Fixtures that cost something: real data, a published repository, a running platform. Each is made once a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.manifest import Manifest, read_document
from tests.platform_process import Platform, running_platform
from workers.mnist import Split, load_mnist

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The four IDX files: TWINSERVE_MNIST, else ../shared/mnist, else the test is skipped and says so."""
    folder = Path(os.environ.get("TWINSERVE_MNIST", ROOT.parent / "shared" / "mnist"))
    if not folder.is_dir():
        pytest.skip(f"needs the real MNIST: {folder} does not exist; set TWINSERVE_MNIST to a folder with its files")
    return folder


@pytest.fixture(scope="session")
def mnist_test(mnist_folder: Path) -> Split:
    """The 10,000 test images, FP32 [N,28,28] in 0..1, and their labels."""
    return load_mnist(mnist_folder).test


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`twinserve up` with both shipped versions, shared by all tests that leave it as they found it."""
    with running_platform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="session")
def repository(platform: Platform) -> Path:
    """A repository with versions 1 and 2, published by `twinserve up`; not to be changed."""
    return platform.repository


@pytest.fixture(scope="session")
def manifests(repository: Path) -> dict[int, Manifest]:
    """The manifests of both shipped versions."""
    paths = ModelPaths(repository, "mnist")
    return {version: read_document(paths.version(version).manifest, Manifest) for version in paths.published()}
