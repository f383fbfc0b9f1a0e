"""The shared directory `model_repo/`, read for the core.

What is published never changes, so each manifest is read once; live.json is read when it has changed. What waits for
the disk runs in a thread.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from contracts import live
from contracts.golden import read_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths, VersionPaths, models
from contracts.manifest import BadDocument, Image, Manifest, read_document
from contracts.manifest import TensorSpec as ManifestTensorSpec
from gateway.core.errors import NotFound, RepositoryFailed
from gateway.core.published import CandidateVersion, Golden, ImageRecipe, PublishedModel, PublishedVersion, Rollout
from gateway.core.tensors import Signature, TensorSpec

log = logging.getLogger(__name__)

# File systems keep times in ticks of some milliseconds: a change may share its time with one just before it.
_TICK_NS = 100_000_000
# What a file system does not tell of by its times is seen after this long.
_LONGEST_UNREAD_S = 5.0
_LONGEST_REST_S = 0.05

_Stamp = tuple[int, int, int]


class DirectoryRepository:
    """Implements gateway.core.ports.Repository on contracts.layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._versions: dict[Path, PublishedVersion] = {}
        self._models: dict[str, PublishedModel] = {}
        self._found: list[ModelPaths] = []
        self._stamps: Sequence[_Stamp | None] | None = None
        self._read_at = 0.0
        self._has_trouble = False
        self._reported: dict[Path, str] = {}

    def scan(self) -> Mapping[str, PublishedModel]:
        """See gateway.core.ports.Repository. A model is servable once its live.json names a readable version.

        A model that was servable and cannot be read any more stays as it was: an unreadable file must not unload what
        serves. It goes when its directory goes. Read are only directories and files that have changed: this is asked
        many times a second.
        """
        stamps = self._read_stamps()
        if stamps is not None and stamps == self._stamps and time.monotonic() - self._read_at < _LONGEST_UNREAD_S:
            return self._models
        known, self._stamps, self._has_trouble = self._found, None, False
        try:
            self._found = models(self._root)
        except OSError as error:
            self._report(self._root, str(error))
            return self._models
        read = ((paths.model, self._read_model(paths) or self._models.get(paths.model)) for paths in self._found)
        self._models = {name: model for name, model in read if model is not None}
        if self._found == known and not self._has_trouble:
            self._stamps, self._read_at = stamps, time.monotonic()
        return self._models

    def _read_stamps(self) -> Sequence[_Stamp | None] | None:
        """What differs once anything that `scan` reads has changed; None when it changed only just now."""
        stamps = [_stamp(self._root)]
        for paths in self._found:
            stamps += (_stamp(paths.root), _stamp_of_content(paths.live))
        latest_ns = max((stamp[0] for stamp in stamps if stamp is not None), default=0)
        # A time to come is of a clock that is ahead of ours, and says nothing of what is recent.
        return None if latest_ns > time.time_ns() - _TICK_NS else stamps

    def _read_model(self, paths: ModelPaths) -> PublishedModel | None:
        try:
            published = paths.published()
            for known in [p for p in self._versions if p.parent == paths.root and int(p.name) not in published]:
                del self._versions[known]  # another version may come under its number
            read = {number: self._read_version(paths.version(number)) for number in published}
            now = live.read_live(paths)
        except (OSError, BadDocument) as error:
            self._report(paths.live, str(error))
            return None
        versions = {number: version for number, version in read.items() if version is not None}
        if now.live not in versions:
            self._report(paths.live, f"names version {now.live}, published are {sorted(versions)}")
            return None
        return _from_live(paths.model, now, versions)

    def _read_version(self, paths: VersionPaths) -> PublishedVersion | None:
        version = self._versions.get(paths.root)
        if version is None:
            try:
                version = _convert(read_document(paths.manifest, Manifest))
            except (OSError, BadDocument) as error:
                self._report(paths.root, str(error))
                return None
            self._versions[paths.root] = version
        return version

    async def find_damage(self, model: str, version: int) -> str:
        """See gateway.core.ports.Repository."""
        return await asyncio.to_thread(find_damage, ModelPaths(self._root, model).version(version), _rest)

    async def read_golden(self, model: str, version: int) -> Golden | None:
        """See gateway.core.ports.Repository."""
        path = ModelPaths(self._root, model).version(version).golden
        try:
            golden = await asyncio.to_thread(read_golden, path)
        except FileNotFoundError:
            return None
        except (OSError, BadDocument) as error:
            raise RepositoryFailed(str(error)) from error
        return Golden(golden.inputs, golden.outputs)

    async def change(self, model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        """See gateway.core.ports.Repository."""
        known = self._models.get(model)
        if known is None:
            raise NotFound(f"unknown model {model!r}")

        paths = ModelPaths(self._root, model)

        def replace(now: live.Live) -> live.Live:
            _remove_half_written(paths)
            return _to_live(change(_from_live(model, now, known.versions)))

        try:
            await asyncio.to_thread(live.change_live, paths, replace)
        except (OSError, BadDocument) as error:
            raise RepositoryFailed(f"{model}'s live.json cannot be changed: {error}") from error

    async def record(self, model: str, rollout: Rollout) -> None:
        """See gateway.core.ports.Repository."""
        try:
            await asyncio.to_thread(
                live.record_rollout,
                ModelPaths(self._root, model),
                msgspec.convert(rollout, live.Rollout, from_attributes=True),
            )
        except (OSError, BadDocument) as error:
            raise RepositoryFailed(f"{model}'s rollouts.json cannot be changed: {error}") from error

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        """See gateway.core.ports.Repository."""
        paths = ModelPaths(self._root, model)
        try:
            return tuple(Rollout(**msgspec.structs.asdict(known)) for known in live.read_rollouts(paths))
        except (OSError, BadDocument) as error:
            self._report(paths.rollouts, str(error))
            return ()

    def _report(self, path: Path, problem: str) -> None:
        """Log a problem once, not at every scan."""
        self._has_trouble = True
        if self._reported.get(path) != problem:
            self._reported[path] = problem
            log.error("%s is not servable: %s", path, problem)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_ino, status.st_size  # the time of any change, of rights too


def _stamp_of_content(path: Path) -> _Stamp | None:
    """The same of a file that every gateway must follow at once: network file systems look anew when it is opened."""
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_ctime_ns, status.st_ino, status.st_size


def _remove_half_written(paths: ModelPaths) -> None:
    """For the holder of the model's change lock: whoever staged these files was killed before it could rename them."""
    for path in (paths.live, paths.rollouts):
        for staged in paths.root.glob(f".{path.name}.*"):
            staged.unlink(missing_ok=True)


def _from_live(name: str, now: live.Live, versions: Mapping[int, PublishedVersion]) -> PublishedModel:
    candidate = now.candidate
    return PublishedModel(
        name=name,
        live=now.live,
        weights=now.routing,
        versions=versions,
        previous=now.previous,
        kept=now.kept,
        mirror=now.mirror,
        candidate=None if candidate is None else CandidateVersion(**msgspec.structs.asdict(candidate)),
    )


def _to_live(model: PublishedModel) -> live.Live:
    candidate = model.candidate
    return live.Live(
        live=model.live,
        previous=model.previous,
        kept=model.kept,
        routing=dict(model.weights),
        mirror=dict(model.mirror),
        candidate=None if candidate is None else msgspec.convert(candidate, live.Candidate, from_attributes=True),
    )


def _convert(manifest: Manifest) -> PublishedVersion:
    signature = Signature(
        inputs=tuple(_convert_tensor(tensor) for tensor in manifest.signature.inputs),
        outputs=tuple(_convert_tensor(tensor) for tensor in manifest.signature.outputs),
    )
    engines = frozenset(manifest.made_from) or None
    return PublishedVersion(manifest.version, signature, _convert_image(manifest.image), engines)


def _convert_tensor(tensor: ManifestTensorSpec) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.datatype, tensor.shape)


def _convert_image(image: Image | None) -> ImageRecipe | None:
    if image is None:
        return None
    return ImageRecipe(
        input=image.input,
        output=image.output,
        width=image.width,
        height=image.height,
        is_light_on_dark=image.polarity == "light-on-dark",
        labels=image.labels,
    )


def _rest(worked_s: float) -> None:
    """Leave the processor to the requests beside for two thirds of the time; a disk that is slow needs no rest."""
    time.sleep(min(2 * worked_s, _LONGEST_REST_S))
