"""What is made before anything serves: shipped versions, model store, token."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.layout import TORCHSERVE_STORE
from twinserve import shipped
from twinserve.publishing import PublishError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWINSERVE_REPOSITORY", str(tmp_path / "models"))
    monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN_FILE", str(tmp_path / "operator" / "admin-token"))
    (tmp_path / "models").mkdir()
    return tmp_path


def test_it_prepares_what_containers_share(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Path, Sequence[int]]] = []
    monkeypatch.setattr(
        shipped, "publish_versions", lambda where, model, versions, say: asked.append((where, versions))
    )
    for version in (1, 2, 3, 10):
        (home / "models" / "mnist" / str(version)).mkdir(parents=True)
    assert shipped.main() == 0
    assert asked == [(home / "models", [1, 2])]
    assert (home / "models" / TORCHSERVE_STORE).is_dir()
    token = home / "operator" / "admin-token"
    assert token.stat().st_mode & 0o777 == 0o600
    made = token.read_bytes()
    assert shipped.main() == 0, "a second time there is nothing to make"
    assert token.read_bytes() == made
    assert f"versions 1, 2, 3, 10 are published in {home / 'models'}" in capsys.readouterr().out


def test_a_failure_is_told_and_fails(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> list[int]:
        raise PublishError("the disk is full")

    monkeypatch.setattr(shipped, "publish_versions", refuse)
    assert shipped.main() == 1
    assert "the shipped versions could not be published: the disk is full" in capsys.readouterr().err
    assert not (home / "models" / TORCHSERVE_STORE).exists(), "TorchServe, which needs it, must not start"
