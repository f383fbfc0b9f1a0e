"""Publishing: a version is staged, exported for both engines, proven equal, and then renamed into the repository.

A failure, a kill or a power cut at any moment leaves at most a directory under a non-numeric name, which no engine
reads and the next publisher removes. Publishers of one model take turns by a lock on a file beside the versions; their
exporters hold it with them, so that those of a killed publisher end before the next one cleans up.
"""

import fcntl
import hashlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from contracts.atomic import publish_directory
from contracts.layout import STAGING_PREFIX, Live, ModelPaths, VersionPaths, write_live
from contracts.manifest import BadDocument, Manifest, Model, Weights, encode_document, read_document
from twinserve.digits import golden_digits
from twinserve.parity import ParityError, certify
from twinserve.reference import load_weights, logits

EXPORTERS: Mapping[str, str] = {"torchserve": "workers.torch.export", "tfserving": "workers.tf.export"}
"""The module that exports for each engine. Each runs in a process of its own: the frameworks do not share one."""

EXPORT_TIMEOUT_S = 600.0
_LOCK = ".publishing.lock"
_TAIL_LINES = 15

Progress = Callable[[str], None]
Tensor = NDArray[np.float32]


class PublishError(Exception):
    """A version was not published, and nothing of it exists; the message says why."""


@dataclass(frozen=True)
class _Turn:
    """A turn at publishing versions of one model; `lock` is the descriptor of the lock that makes it one."""

    model: Model
    model_json: Path
    paths: ModelPaths
    lock: int
    progress: Progress


@dataclass(frozen=True)
class _Source:
    """What one version is made from."""

    version: int
    weights_file: Path
    weights: Weights


@dataclass(frozen=True)
class _Golden:
    """The golden inputs, and the reference's outputs for them."""

    images: Tensor
    logits: Tensor


def publish_versions(repository: Path, model_dir: Path, versions: Sequence[int], progress: Progress) -> list[int]:
    """Publish the given versions of the model described in `model_dir`, as far as they are not published yet.

    `model_dir` holds model.json and, a version, <version>.safetensors with its <version>.json. `progress` is told
    each step in a line. When live.json is missing the newest published version goes live. Returns the versions newly
    published. Raises PublishError; versions finished before it stay published.
    """
    with _turn(repository, model_dir, progress) as turn:
        published = set(turn.paths.published())
        missing = [version for version in dict.fromkeys(versions) if version not in published]
        for version in missing:
            _publish(turn, _source(version, model_dir / f"{version}.safetensors"))
    return missing


def publish_weights(
    repository: Path, model_dir: Path, weights_file: Path, version: int | None, progress: Progress
) -> Manifest:
    """Publish `weights_file`, with the record beside it, as a new version of the model described in `model_dir`.

    Without `version` it gets the number after the newest, counting those that are shipped in `model_dir` and not
    published yet. `progress` and live.json are as in publish_versions. Raises PublishError.
    """
    with _turn(repository, model_dir, progress) as turn:
        published = turn.paths.published()
        following = max([*published, *_shipped(model_dir)], default=0) + 1
        chosen = following if version is None else version
        if chosen in published:
            raise PublishError(
                f"{turn.model.model} {chosen} is published already, and what is published never changes: "
                f"choose another number (next: {following})"
            )
        return _publish(turn, _source(chosen, weights_file))


@contextmanager
def _turn(repository: Path, model_dir: Path, progress: Progress) -> Iterator[_Turn]:
    """Hold the model's publishing lock; what is found staged has a dead maker and is removed. Raises PublishError."""
    try:
        model = read_document(model_dir / "model.json", Model)
        paths = ModelPaths(repository, model.model)
        paths.root.mkdir(parents=True, exist_ok=True)
        with (paths.root / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"{paths.model}: waiting for another publisher")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in paths.root.glob(f"{STAGING_PREFIX}*"):
                shutil.rmtree(leftover)
            yield _Turn(model, model_dir / "model.json", paths, lock.fileno(), progress)
            _ensure_live(paths, progress)
    except (BadDocument, OSError) as error:
        raise PublishError(str(error)) from error


def _shipped(model_dir: Path) -> list[int]:
    return [int(path.stem) for path in model_dir.glob("*.safetensors") if path.stem.isdecimal()]


def _source(version: int, weights_file: Path) -> _Source:
    """Verify what a version is made from. Raises PublishError, BadDocument, OSError."""
    record = weights_file.with_suffix(".json")
    if not record.is_file():
        raise PublishError(f"{record} is missing: weights are published with the record that training wrote of them")
    weights = read_document(record, Weights)
    sha256 = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    if sha256 != weights.sha256:
        raise PublishError(f"{weights_file} has sha256 {sha256}, its record says {weights.sha256}")
    return _Source(version, weights_file, weights)


def _publish(turn: _Turn, source: _Source) -> Manifest:
    """Stage, export, prove and rename one version. Raises PublishError, OSError; nothing of it is left then."""
    name = turn.model.model
    label = f"{name} {source.version}"
    staged = VersionPaths(turn.paths.root / f"{STAGING_PREFIX}{source.version}-{secrets.token_hex(4)}", name)
    staged.root.mkdir()
    try:
        golden = _golden_of(source)
        turn.progress(f"{label}: exporting for {' and '.join(EXPORTERS)}")
        outputs = _export(turn, source, golden, staged)
        turn.progress(f"{label}: comparing {len(golden.images)} golden answers")
        manifest = Manifest(
            model=name,
            version=source.version,
            signature=turn.model.signature,
            weights=source.weights,
            parity=certify(golden.logits, outputs),
            image=turn.model.image,
        )
        _write_golden(staged.golden, golden)
        staged.manifest.write_bytes(encode_document(manifest))
        publish_directory(staged.root, turn.paths.version(source.version).root)
    except ParityError as error:
        raise PublishError(f"{label}: {error}") from error
    finally:
        shutil.rmtree(staged.root, ignore_errors=True)
    furthest = max(manifest.parity.max_abs_diff.values())
    turn.progress(f"{label}: published, engines within {furthest:.1e} of the reference")
    return manifest


def _golden_of(source: _Source) -> _Golden:
    images, _ = golden_digits()
    try:
        weights = load_weights(source.weights_file)
        return _Golden(images, logits(weights, images))
    except (SafetensorError, KeyError, ValueError) as error:
        raise PublishError(f"{source.weights_file} does not hold this model's weights: {error}") from error


def _write_golden(path: Path, golden: _Golden) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, images=golden.images, logits=golden.logits)


def _export(turn: _Turn, source: _Source, golden: _Golden, staged: VersionPaths) -> dict[str, Tensor]:
    """Run every exporter at once; returns what each engine's artifact answers. Raises PublishError."""
    # Beside the staging and named like it, so that it is cleaned up with it.
    with tempfile.TemporaryDirectory(prefix=f"{staged.root.name}-", dir=staged.root.parent) as name:
        scratch = Path(name)
        inputs = scratch / "golden.npz"
        with inputs.open("wb") as file:
            np.savez(file, allow_pickle=False, images=golden.images)
        answers = {engine: scratch / f"{engine}.npz" for engine in EXPORTERS}
        with ThreadPoolExecutor(len(EXPORTERS)) as pool:
            running = []
            for engine in EXPORTERS:
                command = _command(turn, source, engine, inputs, answers[engine], staged.root)
                running.append(pool.submit(_run_exporter, engine, command, turn.lock))
        for run in running:
            run.result()
        return {engine: _read_answer(engine, path) for engine, path in answers.items()}


def _command(turn: _Turn, source: _Source, engine: str, inputs: Path, answers: Path, staged: Path) -> list[str]:
    options = {
        "--model-json": turn.model_json,
        "--weights": source.weights_file,
        "--version": source.version,
        "--golden": inputs,
        "--golden-outputs": answers,
        "--out": staged,
    }
    return [sys.executable, "-m", EXPORTERS[engine], *(str(part) for option in options.items() for part in option)]


def _run_exporter(engine: str, command: Sequence[str], lock: int) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=EXPORT_TIMEOUT_S,
            check=False,
            pass_fds=(lock,),
        )
    except subprocess.TimeoutExpired as error:
        raise PublishError(f"the export for {engine} did not finish within {EXPORT_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-_TAIL_LINES:])
        raise PublishError(f"the export for {engine} ended with {done.returncode}:\n{tail}")


def _read_answer(engine: str, path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as stored:
        if "logits" not in stored.files:
            raise PublishError(f"the artifact for {engine} answers {stored.files}, not logits")
        answer: Tensor = stored["logits"]
        return answer


def _ensure_live(paths: ModelPaths, progress: Progress) -> None:
    published = paths.published()
    if published and not paths.live.exists():
        write_live(paths, Live(live=published[-1]))
        progress(f"{paths.model} {published[-1]}: live")
