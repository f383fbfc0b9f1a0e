"""One version made in a staged directory: exported for its engines, proven equal, described by its manifest.

A model with BYTES is for TensorFlow Serving alone. It is proven equal to nothing then; its golden answers are its own,
and say whether an engine that loads it later still computes the same.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from contracts.exports import ExportReport
from contracts.golden import Golden, read_golden, write_golden
from contracts.integrity import digests_of
from contracts.layout import VersionPaths
from contracts.manifest import (
    Comparison,
    Image,
    Manifest,
    Model,
    Parity,
    Signature,
    Thresholds,
    Weights,
    encode_document,
    read_document,
)
from twinserve.description import has_network
from twinserve.exporters import EXPORTERS, TEST_SET, TIMEOUT_S, run_all
from twinserve.inputs import TestSet, golden_inputs, read_test_set
from twinserve.parity import Subject, compare
from twinserve.reference import load_weights, logits
from twinserve.tensors import Tensors, rows_of
from twinserve.torchscript import fault_of

WITHOUT_STRINGS = "torchserve"

Say = Callable[[str], None]
Kind = Literal["weights", "torchscript", "saved_model"]


class BadSource(ValueError):
    """What a version shall be made from is missing, damaged or not enough; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """What a version is made from: weights for both engines, and an engine's finished artifact in place of theirs."""

    weights: Path | None = None
    torchscript: Path | None = None
    saved_model: Path | None = None

    def given_to(self, engine: str) -> tuple[Kind, Path]:
        """What the engine's exporter starts from. Raises BadSource when there is nothing."""
        own: dict[str, tuple[Kind, Path | None]] = {
            "torchserve": ("torchscript", self.torchscript),
            "tfserving": ("saved_model", self.saved_model),
        }
        for kind, path in (own[engine], ("weights", self.weights)):
            if path:
                return kind, path
        raise BadSource(
            f"nothing is given for {engine}: give --weights, or both --from-torchscript and --from-saved-model "
            "(--from-saved-model alone for a model with BYTES)"
        )


@dataclass(frozen=True)
class Proof:
    """What a version is proven with. Without `golden`, inputs are drawn; without `data`, there is no test set."""

    golden: Path | None = None
    data: Path | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True)
class Job:
    """One version to be made. `lock` is a descriptor that every process started for it holds open."""

    model: Model
    version: int
    source: Source
    proof: Proof
    lock: int
    say: Say


def read_record(source: Source, model: Model) -> Weights | None:
    """The record of the weights, once all that is given was looked at. Raises BadSource, BadDocument, OSError."""
    engines = _exporters(model.signature)
    for engine in engines:
        source.given_to(engine)
    if source.torchscript and WITHOUT_STRINGS not in engines:
        raise BadSource(f"{model.model} has BYTES, which PyTorch has not: give the SavedModel alone")
    if source.torchscript and not source.torchscript.is_file():
        raise BadSource(f"{source.torchscript} is not a file")
    if source.torchscript and (fault := fault_of(source.torchscript)):
        raise BadSource(fault)
    if source.saved_model and not source.saved_model.is_dir():
        raise BadSource(f"{source.saved_model} is not a SavedModel's directory")
    if source.weights is None:
        return None
    if not has_network(model):
        raise BadSource(
            f"weights alone make no version of {model.model}: its signature is not that of the one network there is "
            "code for; give --from-torchscript and --from-saved-model, and no weights"
        )
    record = source.weights.with_suffix(".json")
    if not record.is_file():
        raise BadSource(f"{record} is missing: weights are published with the record that training wrote of them")
    weights = read_document(record, Weights)
    sha256 = hashlib.sha256(source.weights.read_bytes()).hexdigest()
    if sha256 != weights.sha256:
        raise BadSource(f"{source.weights} has sha256 {sha256}, its record says {weights.sha256}")
    return weights


def _exporters(signature: Signature) -> Mapping[str, str]:
    """The exporters for the engines that can serve this signature: PyTorch has no strings."""
    has_strings = any(spec.datatype == "BYTES" for spec in (*signature.inputs, *signature.outputs))
    return {engine: module for engine, module in EXPORTERS.items() if not (has_strings and engine == WITHOUT_STRINGS)}


def stage(job: Job, staged: VersionPaths, scratch: Path) -> Manifest:
    """Fill the directory of `staged`; `scratch` is an empty one, for what is needed only meanwhile.

    Raises BadSource, BadInputs, BadDocument, ExportError, ParityError, OSError.
    """
    weights = read_record(job.source, job.model)
    golden = golden_inputs(job.model, job.proof.golden)
    reference = _forward(job.source.weights, golden, job.model) if job.source.weights else None
    test = _test_set(job, scratch)
    made = _export(job, golden, test, staged.root, scratch)
    answers = {engine: read_golden(scratch / f"{engine}-golden.npz").outputs for engine in made}
    reference = reference or next(iter(answers.values()))
    job.say(f"comparing {_rows(job.model, golden) or 1} golden answers")
    parity = Parity(
        reference="weights" if weights else job.source.given_to(next(iter(made)))[0],
        thresholds=job.proof.thresholds,
        golden=compare(_subject(job), _rows(job.model, golden), reference, answers),
        test_set=_compare_test_set(job, test, scratch),
    )
    write_golden(staged.golden, Golden(golden, reference))
    manifest = Manifest(
        model=job.model.model,
        version=job.version,
        signature=job.model.signature,
        parity=parity,
        digests=digests_of(staged),
        made_from={engine: job.source.given_to(engine)[0] for engine in made},
        operators=made["tfserving"].operators,
        accuracy=_accuracy(parity.test_set, weights),
        weights=weights,
        image=job.model.image,
    )
    staged.manifest.write_bytes(encode_document(manifest))
    return manifest


def _forward(weights: Path, inputs: Tensors, model: Model) -> Tensors:
    """The reference for weights: a plain numpy forward pass of the one network there is code for."""
    (images,), (output,) = inputs.values(), model.signature.outputs
    try:
        return {output.name: logits(load_weights(weights), images)}
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadSource(f"{weights} does not hold this model's weights: {error}") from error


def _test_set(job: Job, scratch: Path) -> TestSet | None:
    """Read the test set and put its inputs where the exporters find them."""
    if job.proof.data is None:
        return None
    job.say("reading the test set")

    def fetch(folder: Path, image: Image) -> Path:
        target = scratch / "images.npz"
        command = [TEST_SET, "--data", str(folder), "--input", image.input, "--out", str(target)]
        command += ["--dark-on-light"] if image.polarity == "dark-on-light" else []
        run_all({"reading the test set": command}, job.lock, job.proof.timeout_s, lambda _, line: job.say(line))
        return target

    test = read_test_set(job.model, job.proof.data, fetch)
    write_golden(scratch / "test.npz", Golden(test.inputs))
    return test


def _export(job: Job, golden: Tensors, test: TestSet | None, out: Path, scratch: Path) -> Mapping[str, ExportReport]:
    """Run every exporter at once, that of the engine with the reference first. Their answers lie in `scratch` then."""
    exporters = _exporters(job.model.signature)
    job.say(f"exporting for {' and '.join(exporters)}")
    model_json, inputs = scratch / "model.json", scratch / "golden.npz"
    model_json.write_bytes(encode_document(job.model))
    write_golden(inputs, Golden(golden))
    commands = {}
    for engine, module in exporters.items():
        kind, path = job.source.given_to(engine)
        options = {
            "--model-json": model_json,
            "--version": job.version,
            "--weights" if kind == "weights" else "--artifact": path,
            "--golden": inputs,
            "--golden-outputs": scratch / f"{engine}-golden.npz",
            "--report": scratch / f"{engine}.json",
            "--out": out,
        }
        if test:
            options |= {"--test-inputs": scratch / "test.npz", "--test-outputs": scratch / f"{engine}-test.npz"}
        commands[engine] = [module, *(str(part) for option in options.items() for part in option)]
    run_all(commands, job.lock, job.proof.timeout_s, lambda engine, line: job.say(f"{engine}: {line}"))
    return {engine: read_document(scratch / f"{engine}.json", ExportReport) for engine in exporters}


def _compare_test_set(job: Job, test: TestSet | None, scratch: Path) -> Comparison | None:
    if test is None:
        return None
    rows = _rows(job.model, test.inputs)
    job.say(f"comparing {rows} answers to the test set")
    engines = _exporters(job.model.signature)
    answers = {engine: read_golden(scratch / f"{engine}-test.npz").outputs for engine in engines}
    weights = job.source.weights
    reference = _forward(weights, test.inputs, job.model) if weights else next(iter(answers.values()))
    return compare(_subject(job), rows, reference, answers, test.labels)


def _subject(job: Job) -> Subject:
    return Subject(job.model.signature, job.model.image, job.proof.thresholds)


def _rows(model: Model, inputs: Tensors) -> int | None:
    return rows_of(inputs, model.signature.inputs, None)


def _accuracy(test_set: Comparison | None, weights: Weights | None) -> float | None:
    if test_set and test_set.accuracy:
        return min(test_set.accuracy.values())
    return weights.training.test_accuracy if weights else None
