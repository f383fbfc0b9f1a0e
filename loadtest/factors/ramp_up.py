"""Ramp-up: how much code model, training, export and serving take in each framework, in this repository."""

from collections.abc import Mapping
from pathlib import Path

from loadtest.factors.code_lines import count_code_lines, framework_names
from loadtest.factors.rows import FRAMEWORKS, TENSORFLOW, TORCH, Row, missing_row
from loadtest.factors.workplace import Workplace

NAME = "ramp-up"
PACKAGES: Mapping[str, frozenset[str]] = {
    TORCH: frozenset({"torch", "ts", "model_archiver"}),
    TENSORFLOW: frozenset({"tensorflow", "keras"}),
}
PARTS: Mapping[str, tuple[str, ...]] = {
    "model": ("model.py",),
    "training": ("train.py",),
    "export": ("export.py",),
    "code that the server runs": ("handler.py",),
}
_HOW = "lines with code (no blank lines, comments, docstrings) of workers/{folder}/{files}, both written to one plan"
_NAMES_HOW = "distinct dotted names of {packages} in those files, by their syntax tree"


def measure(workplace: Workplace) -> list[Row]:
    """Rows of both frameworks; reads the repository's own sources."""
    return [row for folder, name in FRAMEWORKS.items() for row in _rows(workplace.sources / "workers" / folder, name)]


def _rows(folder: Path, framework: str) -> list[Row]:
    rows, sources = [], []
    for part, files in PARTS.items():
        texts = [(folder / file).read_text() for file in files if (folder / file).is_file()]
        how = _HOW.format(folder=folder.name, files=", ".join(files))
        if not texts:
            how = f"workers/{folder.name} has no {', '.join(files)}: the server runs the exported graph by itself"
        if part == "model" and not texts:
            return [missing_row(NAME, framework, "all of it", f"the sources are not at {folder.name}")]
        rows.append(Row(NAME, framework, part, sum(map(count_code_lines, texts)), "lines", how))
        sources += texts
    names = set().union(*(framework_names(text, PACKAGES[framework]) for text in sources))
    how = _NAMES_HOW.format(packages=", ".join(sorted(PACKAGES[framework])))
    return [*rows, Row(NAME, framework, "names of the framework to know", len(names), "names", how)]
