"""How much code a file is: lines that do something, and the framework's names that they need. Pure."""

import ast
import io
import tokenize
from collections.abc import Iterator

_NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def count_code_lines(source: str) -> int:
    """Lines with code on them: blank lines, comments and docstrings do not count. Raises SyntaxError."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - set(_docstring_lines(source)))


def framework_names(source: str, packages: frozenset[str]) -> set[str]:
    """The dotted names of those packages that the source uses, such as `torch.nn.Module`. Raises SyntaxError."""
    tree = ast.parse(source)
    known = dict(_imported(tree, packages))
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = (_dotted(node, known) for node in ast.walk(tree) if id(node) not in inner)
    return {name for name in names if name}


def _docstring_lines(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _imported(tree: ast.AST, packages: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Each local name that stands for something of the packages, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in packages:
                    local = alias.asname or alias.name.partition(".")[0]
                    yield local, alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in packages:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.AST, known: dict[str, str]) -> str:
    """The whole name of an attribute's chain that begins with an imported name; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in known:
        return ""
    return ".".join([known[node.id], *reversed(parts)])
