"""Publishing: a version is staged, exported for both engines, proven equal, and then renamed into the repository.

A failure, a kill or a power cut at any moment leaves at most a directory under a non-numeric name, which no engine
reads and the next publisher removes. Publishers of one model take turns by a lock on a file beside the versions; their
exporters hold it with them, so that those of a killed publisher end before the next one cleans up.
"""

import fcntl
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.atomic import publish_directory
from contracts.layout import STAGING_PREFIX, ModelPaths, VersionPaths
from contracts.live import Live, write_live
from contracts.manifest import BadDocument, Manifest, Model, read_document
from twinserve.exporters import ExportError
from twinserve.inputs import BadInputs
from twinserve.parity import ParityError
from twinserve.places import SHIPPED_MODEL
from twinserve.staging import BadSource, Job, Proof, Source, stage

_LOCK = ".publishing.lock"

Progress = Callable[[str], None]


class PublishError(Exception):
    """A version was not published, and nothing of it exists; the message says why."""


@dataclass(frozen=True)
class _Turn:
    """A turn at publishing versions of one model; `lock` is the descriptor of the lock that makes it one."""

    model: Model
    paths: ModelPaths
    lock: int
    progress: Progress


def publish_versions(repository: Path, model_dir: Path, versions: Sequence[int], progress: Progress) -> list[int]:
    """Publish the given versions of the model described in `model_dir`, as far as they are not published yet.

    `model_dir` holds model.json and, a version, <version>.safetensors with its <version>.json. `progress` is told
    each step in a line. When live.json is missing the newest published version goes live. Returns the versions newly
    published. Raises PublishError; versions finished before it stay published.
    """
    try:
        model = read_document(model_dir / "model.json", Model)
    except (BadDocument, OSError) as error:
        raise PublishError(str(error)) from error
    with _turn(repository, model, progress) as turn:
        published = set(turn.paths.published())
        missing = [version for version in dict.fromkeys(versions) if version not in published]
        for version in missing:
            _publish(turn, version, Source(weights=model_dir / f"{version}.safetensors"), Proof())
    return missing


def publish_version(
    repository: Path, model: Model, version: int | None, source: Source, proof: Proof, progress: Progress
) -> Manifest:
    """Publish a new version of `model`, made from `source` and proven with `proof`.

    Without `version` it gets the number after the newest, counting those that are shipped and not published yet.
    `progress` and live.json are as in publish_versions. Raises PublishError.
    """
    with _turn(repository, model, progress) as turn:
        published = turn.paths.published()
        following = max([*published, *_shipped(model)], default=0) + 1
        chosen = following if version is None else version
        if chosen in published:
            raise PublishError(
                f"{model.model} {chosen} is published already, and what is published never changes: "
                f"choose another number (next: {following})"
            )
        return _publish(turn, chosen, source, proof)


@contextmanager
def _turn(repository: Path, model: Model, progress: Progress) -> Iterator[_Turn]:
    """Hold the model's publishing lock; what is found staged has a dead maker and is removed. Raises PublishError."""
    try:
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
            yield _Turn(model, paths, lock.fileno(), progress)
            _ensure_live(paths, progress)
    except OSError as error:
        raise PublishError(str(error)) from error


def _shipped(model: Model) -> list[int]:
    if model.model != SHIPPED_MODEL.name:
        return []
    return [int(path.stem) for path in SHIPPED_MODEL.glob("*.safetensors") if path.stem.isdecimal()]


def _publish(turn: _Turn, version: int, source: Source, proof: Proof) -> Manifest:
    """Stage, export, prove and rename one version. Raises PublishError, OSError; nothing of it is left then."""
    name = turn.model.model
    label = f"{name} {version}"
    staged = VersionPaths(turn.paths.root / f"{STAGING_PREFIX}{version}-{secrets.token_hex(4)}", name)
    job = Job(turn.model, version, source, proof, turn.lock, lambda line: turn.progress(f"{label}: {line}"))
    staged.root.mkdir()
    try:
        # Beside the staging and named like it, so that it is cleaned up with it.
        with tempfile.TemporaryDirectory(prefix=f"{staged.root.name}-", dir=staged.root.parent) as scratch:
            manifest = stage(job, staged, Path(scratch))
        publish_directory(staged.root, turn.paths.version(version).root)
    except (ParityError, BadSource, BadInputs, BadDocument, ExportError) as error:
        raise PublishError(f"{label}: {error}") from error
    finally:
        shutil.rmtree(staged.root, ignore_errors=True)
    job.say(_summary(manifest))
    return manifest


def _summary(manifest: Manifest) -> str:
    parity = manifest.parity
    compared = [parity.golden, *([parity.test_set] if parity.test_set else [])]
    furthest = max(max(comparison.max_abs_diff.values()) for comparison in compared)
    if len(manifest.made_from) == 1:
        return f"published for {' and '.join(manifest.made_from)} alone: PyTorch has no strings"
    of = "the reference" if parity.reference == "weights" else "the TorchScript artifact"
    accuracy = f", accuracy {manifest.accuracy:.2%}" if parity.test_set and manifest.accuracy is not None else ""
    return f"published, engines within {furthest:.1e} of {of}{accuracy}"


def _ensure_live(paths: ModelPaths, progress: Progress) -> None:
    published = paths.published()
    if published and not paths.live.exists():
        before = published[-2:-1]
        write_live(paths, Live(live=published[-1], previous=before[0] if before else None, kept=tuple(before)))
        # A gateway that has this repository follows; whether there is one is not known here.
        progress(f"{paths.model} {published[-1]}: made live in {paths.root.parent.resolve()}")
