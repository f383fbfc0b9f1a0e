"""The cheap factors with both real frameworks, each in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHEAP = ("ramp-up", "serialization", "parity", "debugging")
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("factors") / "factors.json"
    command = [sys.executable, "-m", "loadtest.factors", "--quick", "--json", str(file)]
    command += [text for name in CHEAP for text in ("--only", name)]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    for name in CHEAP:
        assert name in done.stderr, "each factor is named as it begins"
    found: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return found


def of(rows: list[dict[str, Any]], factor: str, framework: str) -> dict[str, Any]:
    return {row["what"]: row["value"] for row in rows if (row["factor"], row["framework"]) == (factor, framework)}


@pytest.mark.frameworks
def test_every_format_answers_as_the_weights_do(rows: list[dict[str, Any]]) -> None:
    for framework, formats in {
        "PyTorch": ("state dict", "safetensors", "TorchScript", "exported program"),
        "TensorFlow": ("SavedModel", "Keras v3 file", "Keras weights", "TFLite"),
    }.items():
        answers, files = of(rows, "parity", framework), of(rows, "serialization", framework)
        for name in formats:
            assert answers[f"{name}: largest difference of a logit"] < 1e-3
            assert answers[f"{name}: same digit as the reference"] == 100
            # 2,770,634 parameters of four bytes, and what the format adds.
            assert 11.08 < files[f"{name}: size"] < 12
            assert files[f"{name}: load"] > 0


@pytest.mark.frameworks
def test_a_breakpoint_stops_where_python_runs(rows: list[dict[str, Any]]) -> None:
    torch, tensorflow = of(rows, "debugging", "PyTorch"), of(rows, "debugging", "TensorFlow")
    for framework in (torch, tensorflow):
        assert framework["eager: stops in 3 passes"] == 3
        assert framework["eager: values can be read"] == "yes"
    assert torch["TorchScript (traced): stops in 3 passes"] == 0
    assert tensorflow["tf.function: stops while it is made"] >= 1
    assert tensorflow["tf.function: stops in 3 passes"] == 0
    assert tensorflow["tf.function, run_functions_eagerly: stops in 3 passes"] == 3


@pytest.mark.frameworks
def test_what_has_no_value_has_a_reason(rows: list[dict[str, Any]]) -> None:
    assert {row["factor"] for row in rows} == set(CHEAP)
    assert [row for row in rows if row["value"] is None and not row["why_not"]] == []
