"""What LoadGen's mlperf_log_detail.txt says of a run: one JSON document a line, after a marker. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DETAIL, SUMMARY = "mlperf_log_detail.txt", "mlperf_log_summary.txt"
_MARK = ":::MLLOG "


class BadLog(ValueError):
    """A log has no result; the message says what it lacks."""


@dataclass(frozen=True)
class DetailLog:
    """`values`: by key, of a key that comes more than once the last. `errors`: what LoadGen itself calls errors."""

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """LoadGen's verdict. Raises BadLog."""
        if (said := self.values.get("result_validity")) not in ("VALID", "INVALID"):
            raise BadLog(f"LoadGen's log has no verdict: result_validity is {said!r}")
        return bool(said == "VALID")

    def number(self, key: str) -> float | None:
        """None where LoadGen does not tell it."""
        value = self.values.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def milliseconds(self, key: str) -> float | None:
        """Of a value in nanoseconds."""
        value = self.number(key)
        return None if value is None else value / 1e6

    def text(self, key: str) -> str:
        """As one line, empty where LoadGen says nothing."""
        return " ".join(str(self.values.get(key) or "").split())


def read_detail_log(text: str) -> DetailLog:
    """Lines that are none of LoadGen's are left out: the log of a run that was ended ends anywhere."""
    values: dict[str, Any] = {}
    errors = []
    for line in text.splitlines():
        if not line.startswith(_MARK):
            continue
        try:
            entry = json.loads(line.removeprefix(_MARK))
        except ValueError:
            continue
        values[entry.get("key", "")] = entry.get("value")
        if (entry.get("metadata") or {}).get("is_error"):
            errors.append(f"{entry.get('key')}: {entry.get('value')}")
    return DetailLog(values, tuple(errors))
