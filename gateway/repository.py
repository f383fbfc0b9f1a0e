"""The shared directory `model_repo/`, read for the core.

What is published never changes, so each manifest is read once; live.json is read at every scan.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from contracts.layout import ModelPaths, VersionPaths, models, read_live
from contracts.manifest import BadDocument, Image, Manifest, read_document
from contracts.manifest import TensorSpec as ManifestTensorSpec
from gateway.core.ports import ImageRecipe, PublishedModel, PublishedVersion
from gateway.core.tensors import Signature, TensorSpec

log = logging.getLogger(__name__)


class DirectoryRepository:
    """Implements gateway.core.ports.Repository on contracts.layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._versions: dict[Path, PublishedVersion] = {}
        self._models: dict[str, PublishedModel] = {}
        self._reported: dict[Path, str] = {}

    def scan(self) -> Mapping[str, PublishedModel]:
        """See gateway.core.ports.Repository. A model is servable once its live.json names a readable version.

        A model that was servable and cannot be read any more stays as it was: an unreadable file must not unload what
        serves. It goes when its directory goes.
        """
        try:
            found = models(self._root)
        except OSError as error:
            self._report(self._root, str(error))
            return self._models
        read = ((paths.model, self._read_model(paths) or self._models.get(paths.model)) for paths in found)
        self._models = {name: model for name, model in read if model is not None}
        return self._models

    def _read_model(self, paths: ModelPaths) -> PublishedModel | None:
        try:
            read = {number: self._read_version(paths.version(number)) for number in paths.published()}
            live = read_live(paths)
        except (OSError, BadDocument) as error:
            self._report(paths.live, str(error))
            return None
        versions = {number: version for number, version in read.items() if version is not None}
        if live.live not in versions:
            self._report(paths.live, f"names version {live.live}, published are {sorted(versions)}")
            return None
        return PublishedModel(paths.model, live.live, live.routing, versions)

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

    def _report(self, path: Path, problem: str) -> None:
        """Log a problem once, not at every scan."""
        if self._reported.get(path) != problem:
            self._reported[path] = problem
            log.error("%s is not servable: %s", path, problem)


def _convert(manifest: Manifest) -> PublishedVersion:
    signature = Signature(
        inputs=tuple(_convert_tensor(tensor) for tensor in manifest.signature.inputs),
        outputs=tuple(_convert_tensor(tensor) for tensor in manifest.signature.outputs),
    )
    return PublishedVersion(manifest.version, signature, _convert_image(manifest.image))


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
