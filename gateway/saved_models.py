"""The signatures of a version as its SavedModel has them, which TensorFlow Serving's clients ask for.

A version's directory is the SavedModel itself. What cannot be read there (another gateway's repository may hold what
this one may not read) is made from the version's signature, with the names that TensorFlow's exporter gives. What was
read is remembered for as long as the file stays the same.
"""

import asyncio
import logging
from collections import OrderedDict
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
MOST_REMEMBERED = 64

_State = tuple[int, int, int]
"""What tells a file from one that was written in its place: inode, size in bytes, nanoseconds of its last change."""


class SavedModels:
    """Reads the SavedModels of one repository."""

    def __init__(self, repository: Path, messages: Messages) -> None:
        self._repository = repository
        self._messages = messages
        self._remembered: OrderedDict[Path, tuple[_State, bytes | None]] = OrderedDict()

    async def signatures(self, model: str, version: int, signature: Signature) -> Any:
        """The tensorflow.serving.SignatureDefMap of a published version, the caller's own."""
        path = ModelPaths(self._repository, model).version(version).root / FILE
        try:
            found = await self._recall(path)
        except OSError as error:
            log.info("%s is not read for its signatures: %s", path, error)
            found = None
        return self._derive(signature) if found is None else self._messages.SignatureDefMap.FromString(found)

    async def _recall(self, path: Path) -> bytes | None:
        """The serialized map: of a file as it is now, read once. Raises OSError."""
        state = await asyncio.to_thread(_state_of, path)
        known = self._remembered.get(path)
        if known is None or known[0] != state:
            known = state, await asyncio.to_thread(self._read, path)
        self._remembered[path] = known
        self._remembered.move_to_end(path)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return known[1]

    def _read(self, path: Path) -> bytes | None:
        """None when the file is too large, is no SavedModel, or has no graph. Raises OSError."""
        if path.stat().st_size > LARGEST_BYTES:
            return None
        try:
            saved = self._messages.SavedModel.FromString(path.read_bytes())
        except DecodeError as error:
            log.info("%s is not read for its signatures: %s", path, error)
            return None
        if not saved.meta_graphs:
            return None
        signatures = self._messages.SignatureDefMap()
        for name, signature in saved.meta_graphs[0].signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        return bytes(signatures.SerializeToString())

    def _derive(self, signature: Signature) -> Any:
        signatures = self._messages.SignatureDefMap()
        made = signatures.signature_def[DEFAULT_SIGNATURE]
        _fill(made.inputs, signature.inputs, [feed_name(spec.name) for spec in signature.inputs])
        _fill(made.outputs, signature.outputs, [f"StatefulPartitionedCall:{i}" for i in range(len(signature.outputs))])
        made.method_name = PREDICT_METHOD
        return signatures


def _state_of(path: Path) -> _State:
    told = path.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns


def _fill(infos: Any, specs: Sequence[TensorSpec], names: Sequence[str]) -> None:
    for spec, name in zip(specs, names, strict=True):
        info = infos[spec.name]
        info.name = name
        info.dtype = DATATYPE_NUMBERS[spec.datatype]
        info.tensor_shape.SetInParent()
        for size in spec.shape:
            info.tensor_shape.dim.add().size = size
