"""What is known of a model before a version of it is published: signature and image block, from one of three places."""

from pathlib import Path

import msgspec

from contracts.layout import ModelPaths
from contracts.manifest import BadDocument, Manifest, Model, ModelName, read_document
from twinserve.places import SHIPPED_MODEL


class NoDescription(Exception):
    """Nothing says what the model computes; the message says what to do."""


def describe(repository: Path, name: str, file: Path | None) -> Model:
    """The description in `file`, else the shipped one, else that of the model's newest published version.

    Raises NoDescription, contracts.manifest.BadDocument, OSError.
    """
    try:
        msgspec.convert(name, ModelName)
    except msgspec.ValidationError as error:
        raise NoDescription(f"{name!r} cannot be a model's name: letters, digits, '_', '.' and '-' can") from error
    if file:
        model = read_document(file, Model)
        if model.model != name:
            raise NoDescription(f"{file} describes {model.model}, not {name}")
        return model
    if name == SHIPPED_MODEL.name:
        return shipped_model()
    paths = ModelPaths(repository, name)
    published = paths.published()
    if not published:
        raise NoDescription(
            f"{name} has no published version in {repository} to take the signature from: "
            "give a model.json with --describe (model_repo/README.md shows one)"
        )
    newest = paths.version(published[-1]).manifest
    try:
        manifest = read_document(newest, Manifest)
    except FileNotFoundError as error:
        raise BadDocument(f"{newest} is missing: give a model.json with --describe") from error
    return Model(model=name, signature=manifest.signature, image=manifest.image)


def shipped_model() -> Model:
    """The description of the shipped model. Raises contracts.manifest.BadDocument, OSError."""
    return read_document(SHIPPED_MODEL / "model.json", Model)


def has_network(model: Model) -> bool:
    """Whether weights alone make a version of it: our code builds one network, the shipped model's."""
    return model.signature == shipped_model().signature
