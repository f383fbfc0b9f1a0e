"""`twinserve publish` for a model of any signature, with stand-ins for the exporters."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from contracts.golden import Array, Golden, read_golden, write_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths
from contracts.live import Live, read_live, write_live
from contracts.manifest import Manifest, Model, Signature, TensorSpec, encode_document, read_document
from tests.unit.twinserve.stand_ins import names_in, use
from twinserve.cli import app
from twinserve.description import shipped_model
from workers.ranker import BIAS, MODEL, TABLE

pytestmark = pytest.mark.usefixtures("stand_ins")

TEST_ROWS = 200


@pytest.fixture
def ranker(tmp_path: Path) -> ModelPaths:
    return ModelPaths(tmp_path / "repository", "ranker")


@pytest.fixture
def artifacts(tmp_path: Path) -> list[str]:
    """Options that name what the stand-ins take for a TorchScript file and a SavedModel."""
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/constants.pkl", b"")
    (tmp_path / "saved").mkdir()
    return ["--from-torchscript", str(tmp_path / "model.pt"), "--from-saved-model", str(tmp_path / "saved")]


@pytest.fixture
def described(tmp_path: Path) -> list[str]:
    (tmp_path / "model.json").write_bytes(encode_document(MODEL))
    return ["--describe", str(tmp_path / "model.json")]


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    """Inputs and labels of which the model gets all but ten right."""
    generator = np.random.default_rng(1)
    ids = generator.integers(0, 16, (TEST_ROWS, 4))
    scale = generator.normal(1, 1, (TEST_ROWS, 1)).astype(np.float32)
    labels = (np.tanh(TABLE[ids].sum(1)) * scale + BIAS).argmax(1)
    labels[:10] = (labels[:10] + 1) % 3
    write_golden(tmp_path / "test.npz", Golden({"ids": ids, "scale": scale}, labels=labels))
    return tmp_path / "test.npz"


def publish(paths: ModelPaths, *options: str) -> Result:
    return CliRunner().invoke(app, ["publish", paths.model, "--repository", str(paths.repository), *options])


def test_weights_are_published_and_the_manifest_printed(paths: ModelPaths, own_weights: Path) -> None:
    done = publish(paths, "--weights", str(own_weights), "--json")
    assert done.exit_code == 0
    assert done.stdout.encode() == paths.version(3).manifest.read_bytes()
    assert "mnist 3: published" in done.stderr
    refused = publish(paths, "--weights", str(own_weights), "--json", "--version", "3")
    assert refused.exit_code == 1
    assert "mnist 3 is published already" in json.loads(refused.stdout)["error"]
    assert refused.stderr == ""


def test_it_says_where_the_version_lies_and_what_comes_next(
    paths: ModelPaths, own_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.repository.parent)
    relative = ModelPaths(Path(paths.repository.name), paths.model)
    first = publish(relative, "--weights", str(own_weights)).stdout.splitlines()
    assert first[-2:] == [
        f"mnist 3: made live in {paths.repository}",
        f"published {paths.version(3).root} in a new repository: serve it with TWINSERVE_REPOSITORY={paths.repository}",
    ], "it is live already: nothing comes next"
    second = publish(relative, "--weights", str(own_weights)).stdout
    assert second.endswith(f"\npublished {paths.version(4).root}\nnext: twinserve promote mnist 4\n")
    assert "live" not in second
    paths.live.write_bytes(b"{")
    third = publish(relative, "--weights", str(own_weights))
    assert (third.exit_code, third.stdout.splitlines()[-1]) == (0, "next: twinserve promote mnist 5")


def test_a_model_of_several_inputs_and_outputs(ranker: ModelPaths, artifacts: list[str], described: list[str]) -> None:
    done = publish(ranker, *artifacts, *described)
    assert done.exit_code == 0, done.stderr
    assert "ranker 1: published, engines within 0.0e+00 of the TorchScript artifact" in done.stdout
    manifest = read_document(ranker.version(1).manifest, Manifest)
    assert (manifest.signature, manifest.image, manifest.weights) == (MODEL.signature, None, None)
    assert manifest.parity.reference == "torchscript"
    assert manifest.parity.golden.argmax_agreement == {"torchserve": 1, "tfserving": 1}
    assert (manifest.parity.golden.rows, manifest.accuracy) == (64, None)
    assert manifest.made_from == {"torchserve": "torchscript", "tfserving": "saved_model"}
    assert manifest.operators == ("AddV2", "Tanh")
    golden = read_golden(ranker.version(1).golden)
    assert {name: tensor.shape for name, tensor in golden.inputs.items()} == {"ids": (64, 4), "scale": (64, 1)}
    assert {name: tensor.shape for name, tensor in golden.outputs.items()} == {"scores": (64, 3), "top": (64,)}
    assert find_damage(ranker.version(1)) == ""
    assert read_live(ranker) == Live(live=1)


def test_the_next_version_is_described_by_the_newest(
    ranker: ModelPaths, artifacts: list[str], described: list[str]
) -> None:
    assert publish(ranker, *artifacts, *described, "--version", "4").exit_code == 0
    assert publish(ranker, *artifacts).exit_code == 0
    assert ranker.published() == [4, 5]
    assert read_document(ranker.version(5).manifest, Manifest).signature == MODEL.signature
    assert read_live(ranker) == Live(live=4)


def test_a_lost_live_file_comes_back_with_the_version_before(
    ranker: ModelPaths, artifacts: list[str], described: list[str]
) -> None:
    for _ in range(2):
        assert publish(ranker, *artifacts, *described).exit_code == 0
    write_live(ranker, Live(live=1))
    ranker.live.unlink()
    assert publish(ranker, *artifacts).exit_code == 0
    assert read_live(ranker) == Live(live=3, previous=2, kept=(2,))


def test_golden_inputs_of_ones_own(
    ranker: ModelPaths, artifacts: list[str], described: list[str], tmp_path: Path
) -> None:
    inputs: dict[str, Array] = {"ids": np.arange(12).reshape(3, 4), "scale": np.ones((3, 1), np.float32)}
    write_golden(tmp_path / "golden.npz", Golden(inputs))
    assert publish(ranker, *artifacts, *described, "--golden", str(tmp_path / "golden.npz")).exit_code == 0
    np.testing.assert_array_equal(read_golden(ranker.version(1).golden).inputs["ids"], inputs["ids"])
    assert read_document(ranker.version(1).manifest, Manifest).parity.golden.rows == 3


def test_a_test_set_is_measured_on_each_engine(
    ranker: ModelPaths, artifacts: list[str], described: list[str], test_set: Path
) -> None:
    done = publish(ranker, *artifacts, *described, "--data", str(test_set), "--min-accuracy", "0.95")
    assert done.exit_code == 0, done.stderr
    assert "accuracy 95.00%" in done.stdout
    manifest = read_document(ranker.version(1).manifest, Manifest)
    assert manifest.parity.test_set is not None
    assert manifest.parity.test_set.rows == TEST_ROWS
    assert manifest.parity.test_set.accuracy == {"torchserve": 0.95, "tfserving": 0.95}
    assert manifest.accuracy == 0.95
    assert manifest.parity.thresholds.min_accuracy == 0.95
    refused = publish(ranker, *artifacts, "--data", str(test_set), "--min-accuracy", "0.96")
    assert refused.exit_code == 1
    assert "torchserve is right on 95.0000% of the rows, less than 96.0000%" in refused.stderr


def test_a_difference_that_golden_inputs_do_not_show_is_found_on_the_test_set(
    ranker: ModelPaths,
    artifacts: list[str],
    described: list[str],
    test_set: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, "sound", "differing_later")
    refused = publish(ranker, *artifacts, *described, "--data", str(test_set))
    assert refused.exit_code == 1
    assert "tfserving differs from the reference in scores by up to 0.5" in refused.stderr
    assert names_in(ranker) == set()
    assert publish(ranker, *artifacts, *described).exit_code == 0


def test_thresholds_can_be_widened(paths: ModelPaths, own_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "sound", "differing")
    options = ["--weights", str(own_weights), "--atol", "0.6"]
    refused = publish(paths, *options, "--atol", "0.4")
    assert "tfserving differs from the reference in logits by up to 0.5, more than 0.4" in refused.stderr
    assert publish(paths, *options).exit_code == 0
    parity = read_document(paths.version(3).manifest, Manifest).parity
    assert (parity.thresholds.atol, parity.golden.max_abs_diff["tfserving"]) == (0.6, 0.5)


def test_a_model_that_nothing_describes_is_refused(ranker: ModelPaths, artifacts: list[str]) -> None:
    refused = publish(ranker, *artifacts)
    assert refused.exit_code == 1
    assert "ranker has no published version" in refused.stderr
    assert "give a model.json with --describe" in refused.stderr
    assert not ranker.root.exists()


def test_a_version_of_an_older_twinserve_says_what_to_do(ranker: ModelPaths, artifacts: list[str]) -> None:
    ranker.version(1).root.mkdir(parents=True)
    signature = json.loads(encode_document(MODEL.signature))
    older = {"model": "ranker", "version": 1, "signature": signature, "parity": {"images": 64}}
    ranker.version(1).manifest.write_text(json.dumps(older))
    refused = publish(ranker, *artifacts)
    assert refused.exit_code == 1
    assert "an older twinserve published this version" in refused.stderr
    assert "delete its directory and publish it again" in refused.stderr


@pytest.mark.parametrize(
    ("model", "keep", "said"),
    [
        ("ranker", ("--describe",), "nothing is given for torchserve: give --weights, or both --from-torch"),
        ("ranker", ("--describe", "--from-torchscript"), "nothing is given for tfserving"),
        ("ranker", ("--describe", "--weights"), "weights alone make no version of ranker"),
        ("other", ("--describe", "--from-torchscript", "--from-saved-model"), "describes ranker, not other"),
        ("../ranker", ("--describe",), "cannot be a model's name"),
    ],
)
def test_what_is_not_enough_is_refused_and_leaves_nothing(
    ranker: ModelPaths,
    artifacts: list[str],
    described: list[str],
    own_weights: Path,
    model: str,
    keep: tuple[str, ...],
    said: str,
) -> None:
    given = [*artifacts, *described, "--weights", str(own_weights)]
    pairs = zip(given[::2], given[1::2], strict=True)
    options = [part for pair in pairs if pair[0] in keep for part in pair]
    refused = publish(ModelPaths(ranker.repository, model), *options)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert not ranker.root.exists() or names_in(ranker) == set()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("model/data.pkl", "is no TorchScript file, but a state dict or a model that torch.save has pickled"),
        ("model/weights", "is an archive, but no TorchScript file"),
        (b"junk", "is no TorchScript file, which is a zip archive"),
        (b"", "is no TorchScript file, which is a zip archive"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "that torch.save has pickled"),  # what it wrote first before 1.6
    ],
)
def test_what_is_no_torchscript_is_called_so(
    ranker: ModelPaths, artifacts: list[str], described: list[str], tmp_path: Path, entry: str | bytes, said: str
) -> None:
    if isinstance(entry, bytes):
        (tmp_path / "model.pt").write_bytes(entry)
    else:
        with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
            archive.writestr(entry, b"")
    refused = publish(ranker, *artifacts, *described)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert "make one with `torch.jit.script(model).save(path)`" in refused.stderr
    assert names_in(ranker) == set()


def test_a_model_with_bytes_is_for_tensorflow_alone(ranker: ModelPaths, artifacts: list[str], tmp_path: Path) -> None:
    texts = (TensorSpec("note", "BYTES", (-1,)),)
    signature = Signature((*MODEL.signature.inputs, *texts), MODEL.signature.outputs)
    (tmp_path / "noted.json").write_bytes(encode_document(Model("ranker", signature)))
    described = ["--describe", str(tmp_path / "noted.json")]
    refused = publish(ranker, *artifacts, *described)
    assert (refused.exit_code, "ranker has BYTES, which PyTorch has not" in refused.stderr) == (1, True)
    done = publish(ranker, *artifacts[2:], *described)
    assert done.exit_code == 0, done.stderr
    assert "ranker 1: published for tfserving alone" in done.stdout
    manifest = read_document(ranker.version(1).manifest, Manifest)
    assert (manifest.made_from, manifest.parity.reference) == ({"tfserving": "saved_model"}, "saved_model")
    assert manifest.parity.golden.max_abs_diff == {"tfserving": 0}
    notes = read_golden(ranker.version(1).golden).inputs["note"].tolist()
    assert len(notes) == 64
    assert all(type(note) is bytes for note in notes)


def test_the_shipped_network_may_have_another_name(ranker: ModelPaths, own_weights: Path, tmp_path: Path) -> None:
    digits = ModelPaths(ranker.repository, "digits")
    shipped = shipped_model()
    (tmp_path / "digits.json").write_bytes(encode_document(Model("digits", shipped.signature, shipped.image)))
    done = publish(digits, "--weights", str(own_weights), "--describe", str(tmp_path / "digits.json"))
    assert done.exit_code == 0, done.stderr
    assert digits.published() == [1]
