"""What a worker that measures tells who started it: a line of JSON a finding, among what its framework prints."""

import msgspec

_MARK = "finding: "


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fact: `value` is a number in `unit`, or a word; None when there is none, and `why_not` says why."""

    what: str
    how: str
    value: float | str | None = None
    unit: str = ""
    why_not: str = ""


def encode_finding(finding: Finding) -> str:
    """One line, without its end."""
    return _MARK + msgspec.json.encode(finding).decode()


def decode_finding(line: str) -> Finding | None:
    """None for a line that is something else: frameworks print what they like."""
    if not line.startswith(_MARK):
        return None
    try:
        return msgspec.json.decode(line.removeprefix(_MARK).encode(), type=Finding)
    except msgspec.DecodeError:
        return None
