"""The signatures of a version as its SavedModel has them, which TensorFlow Serving's clients ask for.

A version's directory is the SavedModel itself. What cannot be read there (another gateway's repository may hold what
this one may not read) is made from the version's signature, with the names that TensorFlow's exporter gives.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from contracts.layout import ModelPaths
from contracts.tfserving import DATATYPE_NUMBERS, Messages
from gateway.core.tensors import Signature, TensorSpec
from gateway.protocols.tfserving_rules import DEFAULT_SIGNATURE, PREDICT_METHOD, feed_name

log = logging.getLogger(__name__)

FILE = "saved_model.pb"
LARGEST_BYTES = 64 * 1024 * 1024  # graphs that hold their weights are not read for a few names


class SavedModels:
    """Reads the SavedModels of one repository."""

    def __init__(self, repository: Path, messages: Messages) -> None:
        self._repository = repository
        self._messages = messages

    async def signatures(self, model: str, version: int, signature: Signature) -> Any:
        """The tensorflow.serving.SignatureDefMap of a published version."""
        path = ModelPaths(self._repository, model).version(version).root / FILE
        try:
            found = await asyncio.to_thread(self._read, path)
        except (OSError, DecodeError) as error:
            log.info("%s is not read for its signatures: %s", path, error)
            found = None
        return self._derive(signature) if found is None else found

    def _read(self, path: Path) -> Any:
        """None when the file is too large, or has no graph."""
        if path.stat().st_size > LARGEST_BYTES:
            return None
        saved = self._messages.SavedModel.FromString(path.read_bytes())
        if not saved.meta_graphs:
            return None
        signatures = self._messages.SignatureDefMap()
        for name, signature in saved.meta_graphs[0].signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        return signatures

    def _derive(self, signature: Signature) -> Any:
        signatures = self._messages.SignatureDefMap()
        made = signatures.signature_def[DEFAULT_SIGNATURE]
        _fill(made.inputs, signature.inputs, [feed_name(spec.name) for spec in signature.inputs])
        _fill(made.outputs, signature.outputs, [f"StatefulPartitionedCall:{i}" for i in range(len(signature.outputs))])
        made.method_name = PREDICT_METHOD
        return signatures


def _fill(infos: Any, specs: Sequence[TensorSpec], names: Sequence[str]) -> None:
    for spec, name in zip(specs, names, strict=True):
        info = infos[spec.name]
        info.name = name
        info.dtype = DATATYPE_NUMBERS[spec.datatype]
        info.tensor_shape.SetInParent()
        for size in spec.shape:
            info.tensor_shape.dim.add().size = size
