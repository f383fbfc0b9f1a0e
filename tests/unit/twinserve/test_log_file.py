"""Logs stay small, and the newest run's last words are found."""

from pathlib import Path

from twinserve.log_file import KEPT, LogFile


def write(log: LogFile, text: str) -> None:
    with log.open("engine") as file:
        file.write(text.encode())


def test_the_tail_is_of_the_newest_run_only(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "new" / "engine.log")
    write(log, "old words\n")
    write(log, "one\n\ntwo\nthree\n")
    assert log.tail(10) == ["one", "two", "three"]
    assert log.tail(2) == ["two", "three"]
    write(log, "")
    assert log.tail(2) == []


def test_a_long_run_whose_heading_is_far_above(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "engine.log")
    write(log, "x" * 99 + "\n" + ("y" * 99 + "\n") * 1000 + "end\n")
    assert log.tail(1) == ["end"]


def test_rotation_keeps_what_a_child_goes_on_writing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "engine.log", limit_bytes=1000)
    with log.open("engine") as child:
        for generation in range(KEPT + 2):
            child.write(f"generation {generation} ".encode() + b"x" * 2000 + b"\n")
            child.flush()
            log.rotate()
            log.rotate()  # nothing to do
        child.write(b"the end\n")
    assert log.path.read_text() == "the end\n"
    kept = sorted(tmp_path.glob("engine.log.*"))
    assert [path.name for path in kept] == [f"engine.log.{age}" for age in range(1, KEPT + 1)]
    assert [path.read_text().split()[1] for path in kept] == ["4", "3", "2"]


def test_rotating_what_is_not_there(tmp_path: Path) -> None:
    LogFile(tmp_path / "absent.log").rotate()
    assert list(tmp_path.iterdir()) == []
