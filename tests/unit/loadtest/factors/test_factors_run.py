"""A run of factors with a runner that starts nothing: what fails is a row, and what was measured is kept."""

import os
from collections.abc import Iterator

import pytest

from contracts.findings import Finding, encode_finding
from loadtest.bench.lifeline import Lifeline
from loadtest.factors import __main__ as command
from loadtest.factors.catalog import FACTORS, Factor
from loadtest.factors.program import measure_factors
from loadtest.factors.rows import Row
from loadtest.factors.workplace import Ended, Interrupted, ProcessRunner, Workplace
from tests.unit.loadtest.factors.fake_runner import workplace_of

SIZE = Finding("state dict: size", "bytes on disk", 11.1, "MB")
TORCH_SIZE, TF_SIZE = "workers.torch.factors.serialization", "workers.tf.factors.serialization"


def factor(name: str) -> Factor:
    (found,) = command.chosen([name])
    return found


def measured(factors: list[Factor], workplace: Workplace) -> tuple[list[Row], bool, list[str]]:
    said: list[str] = []
    rows, is_interrupted = measure_factors(factors, workplace, lambda what, _seconds: said.append(what))
    return rows, is_interrupted, said


def test_findings_become_rows_of_their_framework_and_a_fault_is_one_too() -> None:
    printed = "oneDNN is on\n" + encode_finding(SIZE) + "\nanother line\n"
    runner, workplace = workplace_of({TORCH_SIZE: Ended(printed)})
    rows, is_interrupted, said = measured([factor("serialization")], workplace)
    assert rows == [
        Row("serialization", "PyTorch", "state dict: size", 11.1, "MB", "bytes on disk"),
        Row("serialization", "TensorFlow", "what is not above", None, "", "", f"{TF_SIZE} ended with 1"),
    ]
    assert not is_interrupted
    assert said == ["serialization"]
    assert [module for module, _ in runner.asked] == [TORCH_SIZE, TF_SIZE]
    assert all("--quick" in arguments for _, arguments in runner.asked)
    assert not any(scratch.exists() for scratch in runner.scratches)


def test_a_factor_that_raises_is_a_row_and_the_next_one_runs() -> None:
    def broken(workplace: Workplace) -> Iterator[Row]:
        yield Row("broken", "PyTorch", "first", 1.0, "", "")
        raise LookupError("no such thing")

    _, workplace = workplace_of({})
    rows, _, said = measured([Factor("broken", broken, 1, 1), factor("not measurable")], workplace)
    assert rows[0].value == 1.0
    assert rows[1].why_not == "LookupError: no such thing"
    assert said == ["broken", "not measurable"]
    assert {row.factor for row in rows[2:]} == {"not measurable"}
    assert all(row.why_not for row in rows[2:])


def test_ctrl_c_keeps_what_was_measured_even_by_the_process_that_it_ended() -> None:
    answers: dict[str, Ended | Interrupted] = {
        TORCH_SIZE: Ended(encode_finding(SIZE)),
        TF_SIZE: Interrupted(encode_finding(SIZE) + "\nfinding: {"),
    }
    _, workplace = workplace_of(answers)
    rows, is_interrupted, said = measured([factor("serialization"), factor("parity")], workplace)
    assert is_interrupted
    assert [(row.framework, row.value) for row in rows] == [("PyTorch", 11.1), ("TensorFlow", 11.1)]
    assert said == ["serialization"]


def test_every_factor_asks_only_modules_that_are_there() -> None:
    runner, workplace = workplace_of({}, url="http://127.0.0.1:1")
    rows, _, said = measured(list(FACTORS), workplace)
    assert said == [factor.name for factor in FACTORS]
    assert len(set(said)) == len(said)
    missing = [
        module
        for module, _ in runner.asked
        if not (workplace.sources / (module.replace(".", "/") + ".py")).is_file()
        and not (workplace.sources / module / "__main__.py").is_file()
    ]
    assert missing == []
    assert {row.factor for row in rows} == set(said)
    assert all(row.value is not None or row.why_not for row in rows)


def test_device_management_hides_the_gpu_from_the_fallback_alone() -> None:
    runner, workplace = workplace_of({})
    measured([factor("device management")], workplace)
    hidden = [
        module
        for (module, _), environment in zip(runner.asked, runner.environments, strict=True)
        if environment.get("CUDA_VISIBLE_DEVICES") == ""
    ]
    assert hidden == ["workers.torch.factors.fallback", "workers.tf.factors.fallback"]
    assert all(environment["PATH"] == "/bin" for environment in runner.environments)


def test_a_real_process_that_fails_or_takes_too_long_says_so() -> None:
    environment = dict(os.environ)
    with Lifeline() as lifeline:
        runner = ProcessRunner(lifeline)
        failed = runner.run("json.tool", ["/no/such/file"], 30.0, environment)
        late = runner.run("http.server", ["0", "--bind", "127.0.0.1"], 0.5, environment)
        whole = runner.run("this", [], 30.0, environment)
    assert failed.fault.startswith("json.tool ended with ")
    assert "/no/such/file" in failed.fault
    assert late.fault.startswith("http.server did not end in 0.5 s")
    assert whole.fault == ""
    assert "Beautiful is better than ugly." in whole.output


def test_an_unknown_factor_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "price"])
    assert "invalid choice: 'price'" in capsys.readouterr().err
