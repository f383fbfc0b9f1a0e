"""Folders of TorchServe on a volume that several hosts share: one each, and none left of those that are gone."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

import pytest

from workers.torch.host_folder import host_folder


@pytest.mark.long
def test_each_host_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    for name in ("one", "two"):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        folder, holding = host_folder(tmp_path / "shared")
        assert folder == tmp_path / "shared" / name
        (folder / "key_file.json").write_text("{}")
        held.append(holding)
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["one", "two"], "the first one lives"
    with pytest.raises(OSError, match="another TorchServe of this host"):
        host_folder(tmp_path / "shared")
    for holding in held:
        holding.close()


def test_folders_that_nobody_holds_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gone")
    folder, holding = host_folder(tmp_path)
    (folder / "logs").mkdir()
    holding.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "key_file.json").write_text("{}")
    monkeypatch.setattr("socket.gethostname", lambda: "new")
    _, holding = host_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key_file.json", "new", "other"]
    holding.close()
    again, holding = host_folder(tmp_path)
    assert again == tmp_path / "new", "a container that is restarted has its folder again"
    holding.close()


def test_a_folder_that_is_just_being_removed_by_another_host_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "back")
    (tmp_path / "back").mkdir()
    remover = (tmp_path / "back" / "life.lock").open("w")
    fcntl.flock(remover, fcntl.LOCK_EX)

    def remove(_: float) -> None:
        if not remover.closed:
            shutil.rmtree(tmp_path / "back")
            remover.close()

    monkeypatch.setattr("workers.torch.host_folder.time.sleep", remove)
    folder, holding = host_folder(tmp_path)
    assert os.path.samestat(os.fstat(holding.fileno()), (folder / "life.lock").stat())
    holding.close()


def test_a_folder_whose_host_came_back_meanwhile_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "back"
    folder.mkdir()
    (folder / "life.lock").touch()
    monkeypatch.setattr("socket.gethostname", lambda: "new")
    lock = fcntl.flock

    def lock_late(file: IO[str], how: int) -> None:
        if Path(file.name).parent == folder:  # the third one: removed by another host, and made again by its own
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "life.lock").touch()
        lock(file, how)

    monkeypatch.setattr("workers.torch.host_folder.fcntl.flock", lock_late)
    _, holding = host_folder(tmp_path)
    assert folder.is_dir()
    holding.close()
