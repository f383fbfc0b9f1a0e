"""Stand-in exporters: small processes that answer like the reference, or fail in their own way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.manifest import Manifest
from twinserve import staging

Publish = Callable[..., Manifest]

STAND_IN = """
import argparse, pathlib, sys
import numpy as np
from contracts.exports import PROGRESS, ExportReport
from contracts.golden import Golden, read_golden, write_golden
from contracts.manifest import encode_document
from twinserve.reference import load_weights, logits
from workers.ranker import BIAS, TABLE

parser = argparse.ArgumentParser()
for option in ("model-json", "golden", "golden-outputs", "report", "out"):
    parser.add_argument("--" + option, type=pathlib.Path, required=True)
for option in ("version", "weights", "artifact", "test-inputs", "test-outputs"):
    parser.add_argument("--" + option, type=pathlib.Path)
given = parser.parse_args()


def answers_to(inputs):
    if given.weights:
        answers = {{"logits": logits(load_weights(given.weights), inputs["images"])}}
    else:
        scores = np.tanh(TABLE[inputs["ids"]].sum(1)) * inputs["scale"] + BIAS
        answers = {{"scores": scores, "top": scores.argmax(1)}}
    floats = next(iter(answers.values()))
    {fault}
    return answers


print(PROGRESS + "half of it is done", flush=True)
write_golden(given.golden_outputs, Golden(outputs=answers_to(read_golden(given.golden).inputs)))
if given.test_inputs:
    write_golden(given.test_outputs, Golden(outputs=answers_to(read_golden(given.test_inputs).inputs)))
given.report.write_bytes(encode_document(ExportReport(("AddV2", "Tanh"))))
(given.out / "{name}").write_bytes(bytes(20_000))
"""
FAULTS = {
    "sound": "",
    "crashing": "sys.stderr.write('the reason\\n'); sys.exit(3)",
    "differing": "floats[5, 0] += 0.5",
    "differing_later": "floats[64:, 0] += 0.5",
    "stuck": "given.out.with_name('started').touch(); sys.stdin = open(given.out.with_name('gate')); sys.stdin.read()",
    "mumbling": "answers = {'other': floats}",
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let publishing use the sound stand-in for both engines; all of them can be named as modules."""
    folder.mkdir()
    for name, fault in FAULTS.items():
        (folder / f"{name}.py").write_text(STAND_IN.format(fault=fault, name=name))
    root = Path(staging.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{root}")
    use(monkeypatch, "sound", "sound")


def use(monkeypatch: pytest.MonkeyPatch, torchserve: str, tfserving: str) -> None:
    """Choose the stand-ins."""
    monkeypatch.setattr(staging, "EXPORTERS", {"torchserve": torchserve, "tfserving": tfserving})


def names_in(paths: ModelPaths) -> set[str]:
    """Everything beside the lock file."""
    return {entry.name for entry in paths.root.iterdir()} - {".publishing.lock"}
