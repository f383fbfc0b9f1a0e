"""A repository to publish into, with stand-ins for the exporters."""

import shutil
from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.manifest import Manifest
from tests.unit.twinserve.stand_ins import Publish, install
from twinserve.description import shipped_model
from twinserve.places import SHIPPED_MODEL as SHIPPED
from twinserve.publishing import Progress, publish_version
from twinserve.staging import Proof, Source


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "modules", monkeypatch)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED, folder)
    return folder


@pytest.fixture
def own_weights(tmp_path: Path) -> Path:
    """Weights of somebody's own, which lie apart from the shipped ones."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(SHIPPED / f"1{suffix}", tmp_path / f"own{suffix}")
    return tmp_path / "own.safetensors"


@pytest.fixture
def paths(tmp_path: Path) -> ModelPaths:
    return ModelPaths(tmp_path / "repository", "mnist")


@pytest.fixture
def publish(paths: ModelPaths) -> Publish:
    """Publish weights as a version of mnist."""

    def publish(weights: Path, version: int | None = None, progress: Progress = lambda _: None) -> Manifest:
        return publish_version(paths.repository, shipped_model(), version, Source(weights), Proof(), progress)

    return publish
