"""Whether a published version is still what was published: every file against the digest its manifest has of it.

Needs neither framework and reads in chunks, so that a gateway can look before every load.
"""

import hashlib
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.layout import VersionPaths
from contracts.manifest import BadDocument, Manifest, read_document

_CHUNK_BYTES = 1 << 18

Rest = Callable[[float], None]
"""Called after each chunk with the seconds that it took."""


def digests_of(paths: VersionPaths) -> dict[str, str]:
    """The sha256 (lower-case hex) of every file below the version's directory but its manifest, by path with slashes.

    Raises OSError, also for what is no plain file: a link could lead out of the version, a pipe would never end.
    """
    return {name: _sha256(paths.root / name) for name in sorted(_names(paths))}


def find_damage(paths: VersionPaths, rest: Rest = lambda _: None) -> str:
    """What differs from what was published, as one sentence about the first such file; "" when nothing does.

    Blocks for as long as reading the version takes, and as `rest` does. Raises nothing.
    """
    try:
        manifest = read_document(paths.manifest, Manifest)
    except FileNotFoundError:
        return "manifest.json is missing"
    except (BadDocument, OSError) as error:
        return f"manifest.json cannot be read: {error}"
    if (manifest.model, str(manifest.version)) != (paths.model, paths.root.name):
        return f"manifest.json is that of {manifest.model} {manifest.version}"
    try:
        found = _names(paths)
    except OSError as error:
        return f"the version cannot be read: {error}"
    for name in sorted(found | manifest.digests.keys()):
        if damage := _damage_of(paths.root / name, name in found, manifest.digests.get(name), rest):
            return f"{name} {damage}"
    return ""


def _damage_of(path: Path, is_found: bool, expected: str | None, rest: Rest) -> str:
    if expected is None:
        return "is not listed in the manifest"
    if not is_found:
        return "is missing"
    try:
        actual = _sha256(path, rest)
    except OSError as error:
        return f"cannot be read: {error}"
    return "" if actual == expected else f"was changed: its sha256 is {actual}, the manifest says {expected}"


def _names(paths: VersionPaths) -> set[str]:
    """Everything below the version's directory that is no directory, but for its manifest. Raises OSError."""
    names = {path.relative_to(paths.root).as_posix() for path in _leaves(paths.root)}
    return names - {paths.manifest.name}


def _leaves(folder: Path) -> Iterator[Path]:
    # Not os.walk or rglob: they pass over folders they may not read, and each treats links in its own way.
    for path in folder.iterdir():
        if stat.S_ISDIR(path.lstat().st_mode):
            yield from _leaves(path)
        else:
            yield path


def _sha256(path: Path, rest: Rest = lambda _: None) -> str:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path.name} is not a plain file")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        began = time.perf_counter()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            rest(time.perf_counter() - began)
            began = time.perf_counter()
    return digest.hexdigest()
