"""Reads from a PromQL expression which metrics and labels it names; whether it is valid is promtool's to say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"'  # a string
    r"|\[[^\]]*\]"  # a range
    r"|[a-zA-Z_:][a-zA-Z0-9_:]*"  # a name
    r"|\d[\w.]*"  # a number, or a duration
    r"|!=|=~|!~|\S"
)
_NAME = re.compile(r"[a-zA-Z_:]")
_LISTS = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_WORDS = frozenset(("and", "or", "unless", "bool", "offset", "inf", "nan"))


@dataclass(frozen=True)
class Selector:
    """A metric and its matchers: label, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Query:
    """The selectors of an expression, and the labels that it groups or joins by."""

    selectors: tuple[Selector, ...]
    labels: frozenset[str]


def read_query(expression: str) -> Query:
    """Raises ValueError for matchers without a metric, and for a brace or a parenthesis that is not closed."""
    tokens = _TOKEN.findall(expression)
    selectors: list[Selector] = []
    labels: set[str] = set()
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        at += 1
        if token == "{":
            raise ValueError(f"matchers without a metric: {expression}")
        if not _NAME.match(token) or token in _WORDS:
            continue
        if token in _LISTS:
            if following == "(":
                end = tokens.index(")", at)
                labels.update(name for name in tokens[at:end] if _NAME.match(name))
                at = end
        elif following == "{":
            end = tokens.index("}", at)
            selectors.append(Selector(token, tuple(_matchers(tokens[at + 1 : end]))))
            at = end + 1
        elif following not in ("(", "by", "without"):
            selectors.append(Selector(token))
    return Query(tuple(selectors), frozenset(labels))


def _matchers(tokens: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yields label, operator, value; the comma after the last may be there or not."""
    for at in range(0, len(tokens), 4):
        label, operator, value = tokens[at : at + 3]
        yield label, operator, value.strip('"')
