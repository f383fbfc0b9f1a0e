"""Telling a TorchScript file from what else PyTorch writes, without PyTorch: by the names within its archive.

torch.jit.save and torch.save both write zip archives with all entries in one folder. Only that of a script holds its
constants; PyTorch's own words for the others, and for what is no archive at all, are that the file is damaged.
"""

import zipfile
from pathlib import Path

_CONSTANTS = "constants.pkl"
_DATA = "data.pkl"
_PICKLE = b"\x80"
"""The first byte of a pickle; torch.save wrote no archive before PyTorch 1.6, and still writes none where told so."""

_HOW = "make one with `torch.jit.script(model).save(path)`"


def fault_of(path: Path) -> str:
    """Why the file cannot be a TorchScript file, and how to make one; empty where it may well be. Raises OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            is_pickle = file.read(1) == _PICKLE
        return _saved(path) if is_pickle else f"{path} is no TorchScript file, which is a zip archive: {_HOW}"
    if _CONSTANTS in names:
        return ""
    return _saved(path) if _DATA in names else f"{path} is an archive, but no TorchScript file: {_HOW}"


def _saved(path: Path) -> str:
    return f"{path} is no TorchScript file, but a state dict or a model that torch.save has pickled: {_HOW}"
