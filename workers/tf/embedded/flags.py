"""The command line, in the original's style: `--name=value`, for a bool also `--name`, and nothing else.

An argument that is no flag is reported and otherwise ignored; a flag with a bad value is fatal. That is how
`tensorflow_model_server` behaves, and start scripts rely on it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.tf.embedded.flag_table import FLAGS, Flag, Options

_RANGES = {"int32": 2**31, "int64": 2**63}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_BOOLS = {"true": True, "false": False}


class BadFlag(ValueError):
    """A known flag with a value that does not parse; the message names both."""


@dataclass(frozen=True)
class CommandLine:
    """Parsed arguments; `unknown` keeps what was not understood, in order.

    `without_effect` are those that ask for something this server does not do.
    """

    options: Options
    unknown: tuple[str, ...]
    without_effect: tuple[str, ...] = ()


def parse_flags(arguments: Sequence[str]) -> CommandLine:
    """Parse what follows the program name; of a flag given twice the last counts. Raises BadFlag."""
    table = {flag.name: flag for flag in FLAGS}
    values: dict[str, Any] = {flag.name: flag.default for flag in FLAGS}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = table.get(name) if argument.startswith("--") else None
        if flag is not None and equals:
            values[name] = _parse_value(flag, text)
        elif flag is not None and flag.type == "bool":
            values[name] = True
        else:
            unknown.append(argument)
    meant = {flag.name: values[flag.name] for flag in FLAGS if not flag.is_ignored}
    idle = (f"--{f.name}={_shown(values[f.name])}" for f in FLAGS if f.is_ignored and values[f.name] != f.default)
    return CommandLine(Options(**meant), tuple(unknown), tuple(idle))


def usage(program: str) -> str:
    """The table as text, ending in a newline."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS:
        default = f'"{flag.default}"' if flag.type == "string" else _shown(flag.default)
        lines.append(f"\t{f'--{flag.name}={default}':<40}\t{flag.type}\t{flag.meaning}")
    return "\n".join(lines) + "\n"


def _shown(value: int | float | str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _parse_value(flag: Flag, text: str) -> int | float | str | bool:
    if flag.type == "string":
        if flag.choices and text not in flag.choices:
            raise BadFlag(f"--{flag.name}={text}: expected one of {', '.join(flag.choices)}")
        return text
    if flag.type == "bool":
        if text not in _BOOLS:
            raise BadFlag(f"--{flag.name}={text}: expected true or false")
        return _BOOLS[text]
    if flag.type == "float":
        try:
            return float(text)
        except ValueError as error:
            raise BadFlag(f"--{flag.name}={text}: expected a number") from error
    limit = _RANGES[flag.type]
    if not _INTEGER.fullmatch(text) or not -limit <= int(text) < limit:
        raise BadFlag(f"--{flag.name}={text}: expected {flag.type}")
    return int(text)
