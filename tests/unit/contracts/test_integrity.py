"""A version is what was published, or the first file that is not is named."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts.integrity import digests_of, find_damage
from contracts.layout import ModelPaths, VersionPaths
from contracts.manifest import (
    Comparison,
    Manifest,
    Parity,
    Signature,
    TensorSpec,
    Thresholds,
    encode_document,
    read_document,
)
from tests.bad_versions import flip_bit

LARGE = 3_000_000  # bytes: more than one chunk


@pytest.fixture
def version(tmp_path: Path) -> VersionPaths:
    paths = ModelPaths(tmp_path, "adder").version(7)
    (paths.root / "variables").mkdir(parents=True)
    (paths.root / "assets").mkdir()
    paths.archive.write_bytes(b"archive")
    paths.golden.write_bytes(b"golden")
    (paths.root / "variables" / "data").write_bytes(bytes(LARGE))
    (paths.root / "variables" / "empty").touch()
    same = {"torchserve": 0.0, "tfserving": 0.0}
    manifest = Manifest(
        model="adder",
        version=7,
        signature=Signature((TensorSpec("a", "FP32", (-1, 2)),), (TensorSpec("sum", "FP32", (-1,)),)),
        parity=Parity("torchscript", Thresholds(), Comparison(64, same, same)),
        digests=digests_of(paths),
        made_from={"torchserve": "torchscript", "tfserving": "saved_model"},
        operators=("AddV2",),
    )
    paths.manifest.write_bytes(encode_document(manifest))
    return paths


def test_what_was_published_is_whole(version: VersionPaths) -> None:
    names = {"adder.mar", "golden.npz", "variables/data", "variables/empty"}
    assert read_document(version.manifest, Manifest).digests.keys() == names
    assert find_damage(version) == ""


def change_last_byte(version: VersionPaths) -> None:
    with (version.root / "variables" / "data").open("r+b") as file:
        file.seek(LARGE - 1)
        file.write(b"\1")


def replace_by_link(version: VersionPaths) -> None:
    elsewhere = version.golden.rename(version.root.parent / "golden.npz")
    version.golden.symlink_to(elsewhere)


def replace_by_pipe(version: VersionPaths) -> None:
    version.archive.unlink()
    os.mkfifo(version.archive)


def edit_manifest(**fields: object) -> Callable[[VersionPaths], None]:
    def edit(version: VersionPaths) -> None:
        document = json.loads(version.manifest.read_bytes()) | fields
        version.manifest.write_text(json.dumps(document))

    return edit


def forget_digests(version: VersionPaths) -> None:
    document = json.loads(version.manifest.read_bytes())
    del document["digests"]
    version.manifest.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda v: flip_bit(v.archive), "adder.mar was changed: its sha256 is "),
        (change_last_byte, "variables/data was changed"),
        (lambda v: (v.root / "variables" / "empty").write_text("x"), "variables/empty was changed"),
        (lambda v: v.golden.unlink(), "golden.npz is missing"),
        (lambda v: (v.root / "assets" / "more").touch(), "assets/more is not listed in the manifest"),
        (lambda v: (v.root / ".hidden").touch(), ".hidden is not listed"),
        (lambda v: (v.root / "link").symlink_to("variables"), "link is not listed"),
        (replace_by_link, "golden.npz cannot be read: golden.npz is not a plain file"),
        (replace_by_pipe, "adder.mar cannot be read: adder.mar is not a plain file"),
        (lambda v: v.manifest.unlink(), "manifest.json is missing"),
        (lambda v: v.manifest.write_bytes(b"{\xff"), "manifest.json cannot be read"),
        (edit_manifest(digests={"adder.mar": "abc"}), "manifest.json cannot be read"),
        (edit_manifest(version=8), "manifest.json is that of adder 8"),
        (edit_manifest(model="other"), "manifest.json is that of other 7"),
        (forget_digests, "delete its directory and publish it again"),
    ],
)
def test_any_other_file_is_named(version: VersionPaths, damage: Callable[[VersionPaths], object], said: str) -> None:
    damage(version)
    assert said in find_damage(version)


def test_reading_rests_after_every_piece(version: VersionPaths) -> None:
    (version.root / "variables" / "data").write_bytes(bytes(5 << 20))
    rests: list[float] = []
    assert "was changed" in find_damage(version, rests.append)
    assert len(rests) > 5, "a large file is not read in one go"
    assert min(rests) >= 0


def test_files_are_looked_at_in_order_and_the_first_is_named(version: VersionPaths) -> None:
    version.golden.unlink()
    flip_bit(version.archive)
    assert find_damage(version).startswith("adder.mar")


def test_a_manifest_from_before_digests_says_what_to_do(version: VersionPaths) -> None:
    forget_digests(version)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(version.manifest.read_bytes(), type=Manifest)
    assert "an older twinserve published this version" in find_damage(version)


def test_needs_no_framework() -> None:
    code = "import sys, contracts.integrity; sys.exit(bool({'torch', 'tensorflow', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
