"""A version learnt in Keras: trained, published and read back by processes of their own, as users start them."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.live import read_live
from contracts.manifest import Manifest, read_document
from tests.unit.workers_keras.made_up import EventFiles

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import sys
from pathlib import Path
from tests.unit.workers_keras.made_up import made_up_data
from workers.mnist.training import Recipe
from workers.{room}.train import train_to_file
folder = Path(sys.argv[1])
train_to_file(made_up_data(300), Recipe(2, 1, 0.001, 32), folder / "w.safetensors", lambda *_: None, folder / "run")
assert not {{"torch", "tensorflow"}} <= sys.modules.keys()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of weights and of event files a framework."""
    folders = {room: tmp_path_factory.mktemp(room) for room in ("torch", "tf")}

    def train(room: str) -> None:
        command = [sys.executable, "-c", TRAIN.format(room=room), str(folders[room])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor() as pool:
        list(pool.map(train, folders))
    return folders


def test_both_frameworks_draw_the_same_curves_at_the_same_steps(trained: dict[str, Path]) -> None:
    torch, keras = (EventFiles(trained[room] / "run").points() for room in ("torch", "tf"))
    assert torch == keras
    assert torch["scalars"]["train/loss"] == [1, 20]


def test_what_keras_learnt_is_published_for_both_engines(trained: dict[str, Path], tmp_path: Path) -> None:
    paths = ModelPaths(tmp_path / "repository", "mnist")
    command = [sys.executable, "-m", "twinserve", "publish", "mnist", "--weights", str(trained["tf"] / "w.safetensors")]
    command += ["--repository", str(paths.repository), "--version", "3", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    manifest = read_document(paths.version(3).manifest, Manifest)
    assert json.loads(done.stdout)["version"] == manifest.version == 3
    assert manifest.weights is not None
    assert manifest.weights.training.framework == "keras"
    assert manifest.accuracy == manifest.weights.training.test_accuracy > 0.5
    assert set(manifest.parity.golden.max_abs_diff) == {"torchserve", "tfserving"}
    assert paths.version(3).archive.is_file()
    assert (paths.version(3).root / "saved_model.pb").is_file()
    assert read_live(paths).live == 3
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 1
    assert "mnist 3 is published already" in json.loads(again.stdout)["error"]
