"""TWINSERVE_… variables that nothing reads because they are misspelt.

Those that are read are found in the sources, the compose files among them: they belong to packages that know nothing of
each other, and a list beside them would fall behind.
"""

import ast
import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from contracts.addresses import Ports
from twinserve.exporters import EXPORTERS

_ROOT = Path(__file__).resolve().parent.parent
_PREFIX = "TWINSERVE_"
_PACKAGES = ("contracts", "gateway", "loadtest", "twinserve", "workers")
_WHOLE = re.compile(rf"{_PREFIX}[A-Z0-9_]*[A-Z0-9]\b")
_BY_ENGINE = re.compile(rf"{_PREFIX}{{engine\.upper\(\)}}(_[A-Z0-9_]+)")
_SIMILAR = 0.75


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that is set and not read, with the name that it is probably meant to have.

    One that is like none of ours is somebody else's: the tests have theirs, for example.
    """
    given = [name for name in sorted(environment) if name.startswith(_PREFIX)]
    known = known_variables() if given else frozenset()
    meant = {name: _nearest(name, known) for name in given if name not in known}
    return [f"{name} is set, but nothing reads it: is {near} meant?" for name, near in meant.items() if near]


def known_variables() -> frozenset[str]:
    """Every variable that some part of the platform reads."""
    files = [path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")]
    known = {*Ports().to_environment(), *_fields(_ROOT / "gateway" / "settings.py")}
    for path in (*files, *_ROOT.glob("docker-compose*.yml")):
        text = path.read_text(encoding="utf-8")
        known.update(_WHOLE.findall(text))
        known.update(f"{_PREFIX}{engine.upper()}{rest}" for rest in _BY_ENGINE.findall(text) for engine in EXPORTERS)
    return frozenset(known)


def _fields(source: Path) -> list[str]:
    """The gateway's settings: each field of their class is read from the variable of its name."""
    classes = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    lines = [line for settings in classes for line in settings.body if isinstance(line, ast.AnnAssign)]
    return [f"{_PREFIX}{line.target.id.upper()}" for line in lines if isinstance(line.target, ast.Name)]


def _nearest(name: str, known: frozenset[str]) -> str:
    endings = {other.removeprefix(_PREFIX) for other in known}
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), sorted(endings), 1, _SIMILAR)
    return f"{_PREFIX}{near[0]}" if near else ""
