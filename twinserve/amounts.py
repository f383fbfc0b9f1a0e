"""Amounts as people write them on the command line: durations, percentages, shares of engines.

Everything raises ValueError with the flag it was given by, and what is expected.
"""

import math
from collections.abc import Mapping

_FULL = 100.0
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(flag: str, text: str) -> float:
    """A duration: 30s, 500ms, 5m, 1h, or a plain number of seconds."""
    for unit, factor in {**_UNITS_S, "": 1.0}.items():
        number = text.removesuffix(unit) if unit else text
        if (number != text or not unit) and number.replace(".", "", 1).isdecimal():
            return float(number) * factor
    raise ValueError(f"{flag} {text}: expected a duration such as 30s, 500ms or 5m")


def rising(flag: str, text: str) -> list[float]:
    """Percentages that rise: 1,10,50,100 or 1%,10%."""
    found = [_number(part) for part in text.split(",")]
    if not all(0 < share <= _FULL for share in found) or found != sorted(found):
        raise ValueError(f"{flag} {text}: expected rising percentages above 0 and up to 100, such as 1,10,50,100")
    return found


def weights(flag: str, text: str) -> dict[str, float]:
    """Numbers by engine, of any scale: torchserve=70,tfserving=30."""
    found = _by_engine(flag, text, "torchserve=70,tfserving=30")
    if not all(0 <= share < math.inf for share in found.values()) or not sum(found.values()):
        raise ValueError(f"{flag} {text}: expected numbers of at least 0, not all of them 0")
    return found


def mirrored(flag: str, text: str) -> dict[str, float]:
    """Percentages by engine: tfserving=10."""
    found = _by_engine(flag, text, "tfserving=10")
    if not all(0 <= share <= _FULL for share in found.values()):
        raise ValueError(f"{flag} {text}: expected percentages from 0 to 100, such as tfserving=10")
    return found


def percent_of_all(weights: Mapping[str, float]) -> str:
    """Weights of any scale as they share the traffic: "torchserve 70%, tfserving 30%"."""
    whole = sum(weights.values()) or 1.0
    return ", ".join(f"{name} {_FULL * weight / whole:.3g}%" for name, weight in weights.items())


def percent_each(shares: Mapping[str, float]) -> str:
    """Shares from 0 to 1: "tfserving 10%"."""
    return ", ".join(f"{name} {_FULL * share:.3g}%" for name, share in shares.items())


def _by_engine(flag: str, text: str, example: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        share = _number(number)
        if not name.strip() or math.isnan(share):
            raise ValueError(f"{flag} {text}: {part!r} is no share, expected something like {example}")
        found[name.strip()] = share
    return found


def _number(text: str) -> float:
    """A number, also with a % behind it; NaN, which is within no bounds, for anything else."""
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        return math.nan
