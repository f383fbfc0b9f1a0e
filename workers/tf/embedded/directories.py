"""The versions under a base path: any direct child whose name reads as an int64, a plain file as well.

Facts: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc, measured names in the tests.
"""

import logging
import re
from pathlib import Path

_LOG = logging.getLogger(__name__)

# Not int(): Python also reads "1_0" and digits of other scripts as numbers.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*", re.ASCII)
_INT64 = 2**63


def version_of(name: str) -> int | None:
    """The version a directory name stands for ("00000123" is 123, "-1" is -1), or None when it stands for none."""
    match = _NUMBER.fullmatch(name)
    if match is None or not -_INT64 <= int(match[1]) < _INT64:
        return None
    return int(match[1])


def scan_versions(base_path: Path) -> dict[int, Path]:
    """The versions found, each with its path as spelled on disk. Raises OSError when `base_path` cannot be listed.

    Of two names for one number ("1" and "01") the last in byte order wins.
    """
    found: dict[int, Path] = {}
    for child in sorted(base_path.iterdir(), key=lambda path: path.name.encode(errors="surrogateescape")):
        version = version_of(child.name)
        if version is None:
            continue
        if version in found:
            _LOG.warning("%s and %s are both version %d; the latter counts", found[version], child, version)
        found[version] = child
    return found
