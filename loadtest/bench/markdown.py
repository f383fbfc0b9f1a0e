"""Markdown tables, and how numbers stand in them. Pure."""

from collections.abc import Iterable, Sequence

from loadtest.bench.figures import Spread

NONE = "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def spread_text(spread: Spread, unit: str = "") -> str:
    """The middle value and the range."""
    if spread.middle is None or spread.least is None or spread.most is None:
        return NONE
    after = f" {unit}" if unit else ""
    return f"**{number(spread.middle)}{after}** ({number(spread.least)} to {number(spread.most)})"


def number(value: float) -> str:
    """Three digits that count: 0.123, 1.23, 12.3, 1,234."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
