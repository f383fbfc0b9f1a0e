"""Versions with a fault, as a publisher would never make them: each is a published version, copied and then spoilt.

All but a tampered one have the right digests, so that nothing is noticed before they are loaded, warmed or asked. The
handler that sleeps is the slow version itself, in its archive; no test here does.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from contracts.integrity import digests_of
from contracts.layout import STAGING_PREFIX, ModelPaths, VersionPaths
from contracts.manifest import Manifest, encode_document, read_document

Entries = dict[str, bytes]
"""The files of an archive by name."""

RAISES_ON_LOAD = """

def _initialize(self, context):
    raise RuntimeError("made to fail on loading")


Handler.initialize = _initialize
"""
DIES_ON_LOAD = """

def _initialize(self, context):
    import os

    os._exit(3)


Handler.initialize = _initialize
"""
ANSWERS_WRONGLY = """

_sound_forward = Handler._forward


def _forward(self, tensors):
    outputs = _sound_forward(self, tensors)
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in outputs.items()}


Handler._forward = _forward
"""
ANSWERS_WRONGLY_LATER = """

_sound_forward = Handler._forward
_calls = 0


def _forward(self, tensors):
    global _calls
    _calls += 1
    outputs = _sound_forward(self, tensors)
    if _calls <= CALLS:
        return outputs
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in outputs.items()}


Handler._forward = _forward
"""
RAISES_LATER = """

_sound_forward = Handler._forward
_calls = 0


def _forward(self, tensors):
    global _calls
    _calls += 1
    if _calls > CALLS:
        raise RuntimeError("made to fail after a while")
    return _sound_forward(self, tensors)


Handler._forward = _forward
"""
SLEEPS = """

_swift_handle = Handler.handle


def _handle(self, data, context):
    import time

    time.sleep(SECONDS)
    return _swift_handle(self, data, context)


Handler.handle = _handle
"""


def copy_version(
    paths: ModelPaths, source: int, version: int, spoil: Callable[[Entries], None] = lambda _: None
) -> VersionPaths:
    """Publish `version` as a copy of `source` in which `spoil` has changed the archive's files. Digests are right."""
    staged = VersionPaths(paths.root / f"{STAGING_PREFIX}{version}-copy", paths.model)
    shutil.copytree(paths.version(source).root, staged.root)
    entries = _read_archive(staged.archive)
    described = json.loads(entries["MAR-INF/MANIFEST.json"])
    described["model"]["modelVersion"] = str(version)
    entries["MAR-INF/MANIFEST.json"] = json.dumps(described).encode()
    spoil(entries)
    _write_archive(staged.archive, entries)
    manifest = read_document(staged.manifest, Manifest)
    changed = msgspec.structs.replace(manifest, version=version, digests=digests_of(staged))
    staged.manifest.write_bytes(encode_document(changed))
    target = paths.version(version)
    staged.root.rename(target.root)
    return target


def crash_on_load(
    paths: ModelPaths, source: int, version: int, how: Literal["raises", "dies"] = "raises"
) -> VersionPaths:
    """TorchServe's worker cannot load it: the handler raises, or its process ends. TensorFlow Serving can."""
    return copy_version(paths, source, version, _append(RAISES_ON_LOAD if how == "raises" else DIES_ON_LOAD))


def answers_wrongly(paths: ModelPaths, source: int, version: int) -> VersionPaths:
    """Under TorchServe every float of the answer is greater by 1; under TensorFlow Serving all is right."""
    return copy_version(paths, source, version, _append(ANSWERS_WRONGLY))


def spoils_later(paths: ModelPaths, source: int, version: int, how: Literal["wrong", "raises"]) -> VersionPaths:
    """Under TorchServe all is right for 60 batches, enough to be warmed; then answers are greater by 1, or none."""
    code = ANSWERS_WRONGLY_LATER if how == "wrong" else RAISES_LATER
    return copy_version(paths, source, version, _append(code.replace("CALLS", "60")))


def slow(paths: ModelPaths, source: int, version: int, seconds: float) -> VersionPaths:
    """Under TorchServe every batch takes longer by `seconds`."""
    return copy_version(paths, source, version, _append(SLEEPS.replace("SECONDS", repr(seconds))))


def tamper(
    paths: ModelPaths, source: int, version: int, what: Literal["variables", "archive"] = "variables"
) -> VersionPaths:
    """One bit of the weights is another than when the digests were taken; returns the version, which is published."""
    target = copy_version(paths, source, version)
    if what == "variables":
        flip_bit(next((target.root / "variables").glob("variables.data-*")))
        return target
    entries = _read_archive(target.archive)
    # Model files differ in size most of all: the weights are the largest. Repacked, or the zip itself would be broken.
    largest = max(entries, key=lambda name: len(entries[name]))
    blob = bytearray(entries[largest])
    blob[len(blob) // 2] ^= 1
    _write_archive(target.archive, entries | {largest: bytes(blob)})
    return target


def flip_bit(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _append(code: str) -> Callable[[Entries], None]:
    # To the same class: TorchServe takes the one class that a handler's module defines.
    def spoil(entries: Entries) -> None:
        entries["handler.py"] += code.encode()

    return spoil


def _read_archive(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write_archive(path: Path, entries: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
