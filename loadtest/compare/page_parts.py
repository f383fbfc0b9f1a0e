"""What the report's sections are made of: numbers wrapped in <data>, notes, places for figures, tables. Pure."""

from collections.abc import Iterable, Sequence
from html import escape

from loadtest.compare.verdict import shown

TOO_SMALL = "n too small"
UNKNOWN = "–"


def number(value: float | None, otherwise: str = UNKNOWN) -> str:
    """As the page shows it, and as the JSON has it."""
    return otherwise if value is None else f'<data value="{value!r}">{shown(value)}</data>'


def interval(low: float | None, high: float | None) -> str:
    """Both ends, or that there are none."""
    return TOO_SMALL if low is None or high is None else f"{number(low)} to {number(high)}"


def note(text: str, *, is_safe: bool = False) -> str:
    """A paragraph of small print; `is_safe`: the text is HTML."""
    return f'<p class="note">{text if is_safe else escape(text)}</p>'


def plot(name: str, caption: str) -> str:
    """Where the figure of that name is drawn."""
    return f'<figure><div class="plot" id="plot-{name}"></div><figcaption>{escape(caption)}</figcaption></figure>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """`rows` are HTML; the first cell of each is its head."""
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>" for first, *rest in rows
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
