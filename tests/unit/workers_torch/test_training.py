"""The command line that both training programs share, with a stand-in for the framework."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.manifest import Weights
from twinserve import cli
from workers.canonical import BadWeights
from workers.mnist import Mnist, training
from workers.mnist.training import INTERRUPTED, OnStep, Recipe, run_program

LEARNT = Weights(sha256="0" * 64, training=Recipe(2, 7, 0.01, 16).record("keras", 0.9849))


class StandIn:
    """Trains nothing; remembers what it was asked, shows ten steps, and may fail."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.asked: list[tuple[Recipe, Path, Path | None]] = []
        self._failure = failure

    def __call__(self, data: Mnist, recipe: Recipe, out: Path, on_step: OnStep, run: Path | None) -> Weights:
        self.asked.append((recipe, out, run))
        for step in range(1, 11):
            on_step(step, 10, 0.5)
        if self._failure:
            raise self._failure
        return LEARNT


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "load_mnist", lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, stand_in: StandIn, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    return run_program("workers.tf.train", "keras", stand_in)


def test_options_become_a_recipe_and_the_outcome_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, stand_in = tmp_path / "w.safetensors", StandIn()
    options = ("--epochs", "2", "--seed", "7", "--lr", "0.01", "--batch-size", "16", "--logdir", str(tmp_path / "runs"))
    assert run(monkeypatch, stand_in, "--out", str(out), *options) == 0
    ((recipe, given_out, folder),) = stand_in.asked
    assert (recipe, given_out) == (Recipe(2, 7, 0.01, 16), out)
    assert folder is not None
    assert folder.parent == tmp_path / "runs"
    assert folder.name.startswith("keras-")
    told = capsys.readouterr()
    assert told.out == f"{out}: test accuracy 98.49%\n"
    assert told.err.splitlines()[-1] == "training: step 10 of 10, loss 0.5000"


def test_json_is_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(monkeypatch, StandIn(), "--out", str(tmp_path / "w.safetensors"), "--json") == 0
    assert b'"framework": "keras"' in capsysbinary.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "weights.json"), "must end in .safetensors"),
        (("--out", "no-such-folder/w.safetensors"), "no-such-folder is not a directory"),
        (("--out", "w.safetensors", "--epochs", "0"), "0 is not positive"),
        (("--out", "w.safetensors", "--lr", "nan"), "nan is not a positive number"),
        (("--out", "w.safetensors", "--seed", "-1"), "-1 is not within 0 and 4294967295"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    stand_in = StandIn()
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, stand_in, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert stand_in.asked == []


def test_event_files_need_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        run(monkeypatch, StandIn(), "--out", str(tmp_path / "w.safetensors"), "--logdir", str(tmp_path))
    assert "pip install tensorboard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (BadWeights("conv.bias holds values"), 1, "training failed: conv.bias holds values"),
        (OSError("disk full"), 1, "training failed: disk full"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
    ],
)
def test_a_failure_is_told_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    code: int,
    message: str,
) -> None:
    assert run(monkeypatch, StandIn(failure), "--out", str(tmp_path / "w.safetensors")) == code
    assert message in capsys.readouterr().err


def test_twinserve_train_runs_the_program_of_the_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def remember(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        assert env["TF_CPP_MIN_LOG_LEVEL"] == "3"
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(subprocess, "run", remember)
    for framework in ("torch", "keras"):
        options = ["--framework", framework, "--out", "w.safetensors", "--logdir", str(tmp_path)]
        assert CliRunner().invoke(cli.app, ["train", *options]).exit_code == 0
    assert [command[2] for command in commands] == ["workers.torch.train", "workers.tf.train"]
    assert all(command[-2:] == ["--logdir", str(tmp_path)] for command in commands)
