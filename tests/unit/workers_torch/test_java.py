"""Which Java the launcher takes."""

from pathlib import Path

import pytest

from workers.torch import java
from workers.torch.java import NoJava


def fake_java(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("version", "feature"), [("17.0.9", 17), ("21", 21), ("21-ea", 21), ("1.8.0_392", 8), ("11.0.2+9", 11)]
)
def test_feature_number_of_a_java_version(version: str, feature: int) -> None:
    assert java.major(version) == feature


def test_java_home_comes_first(tmp_path: Path) -> None:
    program = fake_java(tmp_path / "home", "17.0.1")
    other = fake_java(tmp_path / "path", "21.0.1")
    found = java.find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(other.parent)})
    assert (found.program, found.version, found.origin) == (program, "17.0.1", "JAVA_HOME")


def test_an_old_java_is_passed_over(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "11.0.2")
    program = fake_java(tmp_path / "path", "21.0.1")
    found = java.find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(program.parent)})
    assert (found.program, found.origin) == (program, "PATH")


def test_without_java_the_message_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    program = fake_java(tmp_path / "home", "1.8.0_392")
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "nothing")}
    with pytest.raises(NoJava, match=rf"Java 17 or newer .*{program} \(JAVA_HOME\) is Java 1\.8\.0_392"):
        java.find_java(environment)
