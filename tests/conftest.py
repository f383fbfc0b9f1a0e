"""Fixtures that cost something: real data, a published repository, a running platform. Each is made once a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.manifest import Manifest, read_document
from tests.composed.composed_platform import composed_platform
from tests.platform_process import running_platform
from tests.served_platform import ServedPlatform
from tests.targets import TargetPlatform, pytest_addoption, pytest_collection_modifyitems, target
from workers.mnist import Split, load_mnist

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "target"]  # pytest finds them here

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
def platform(tmp_path_factory: pytest.TempPathFactory, target: TargetPlatform) -> Iterator[ServedPlatform]:
    """A platform with both shipped versions, shared by all tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("platform")
    with running_platform(folder) if target is TargetPlatform.UP else composed_platform(folder) as platform:
        yield platform


@pytest.fixture(scope="session")
def repository(platform: ServedPlatform) -> Path:
    """A repository with versions 1 and 2, published by the platform; not to be changed."""
    return platform.repository


@pytest.fixture(scope="session")
def manifests(repository: Path) -> dict[int, Manifest]:
    """The manifests of both shipped versions."""
    paths = ModelPaths(repository, "mnist")
    return {version: read_document(paths.version(version).manifest, Manifest) for version in paths.published()}
