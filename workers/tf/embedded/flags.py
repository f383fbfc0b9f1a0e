"""The command line, in the original's style: `--name=value` and nothing else.

One table drives parsing and usage. An argument that is no flag is reported and otherwise ignored; a flag with a bad
value is fatal. That is how `tensorflow_model_server` behaves, and start scripts rely on it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """One row of the table. `type` is int32, int64 or string; `choices`, when given, are all the values allowed."""

    name: str
    type: str
    default: int | str
    meaning: str
    choices: tuple[str, ...] = ()


FLAGS = (
    Flag("port", "int32", 8500, "TCP port of the gRPC API; 0 turns it off."),
    Flag("rest_api_port", "int32", 0, "TCP port of the REST API; 0, or the gRPC port, turns it off."),
    Flag("rest_api_timeout_in_ms", "int32", 30000, "How long one REST inference may run, in milliseconds."),
    Flag("model_config_file", "string", "", "File with a ModelServerConfig in text format. Required."),
    Flag(
        "file_system_poll_wait_seconds",
        "int32",
        1,
        "Seconds between two looks for new versions; 0: look once after each configuration, negative: never look.",
    ),
    Flag("max_num_load_retries", "int32", 5, "How often a failed load is tried again before the version is given up."),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "Wait before a failed load is tried again, microseconds."),
    Flag("bind_address", "string", "127.0.0.1", "Ours: the address both ports listen on."),
    Flag(
        "shape_check",
        "string",
        "strict",
        "Ours: strict refuses inputs whose rank or fixed dimensions differ from the signature; "
        "off feeds whatever comes, like the original.",
        ("strict", "off"),
    ),
)

_RANGES = {"int32": 2**31, "int64": 2**63}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


class BadFlag(ValueError):
    """A known flag with a value that does not parse; the message names both."""


@dataclass(frozen=True)
class Options:
    """The values of all flags, named as on the command line."""

    port: int
    rest_api_port: int
    rest_api_timeout_in_ms: int
    model_config_file: str
    file_system_poll_wait_seconds: int
    max_num_load_retries: int
    load_retry_interval_micros: int
    bind_address: str
    shape_check: str

    @property
    def is_strict(self) -> bool:
        return self.shape_check == "strict"

    @property
    def load_retry_interval_s(self) -> float:
        return self.load_retry_interval_micros / 1e6


@dataclass(frozen=True)
class CommandLine:
    """Parsed arguments; `unknown` keeps what was not understood, in order."""

    options: Options
    unknown: tuple[str, ...]


def parse_flags(arguments: Sequence[str]) -> CommandLine:
    """Parse what follows the program name; of a flag given twice the last counts. Raises BadFlag."""
    table = {flag.name: flag for flag in FLAGS}
    values: dict[str, Any] = {flag.name: flag.default for flag in FLAGS}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and equals and name in table:
            values[name] = _parse_value(table[name], text)
        else:
            unknown.append(argument)
    return CommandLine(Options(**values), tuple(unknown))


def usage(program: str) -> str:
    """The table as text, ending in a newline."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS:
        default = f'"{flag.default}"' if flag.type == "string" else str(flag.default)
        lines.append(f"\t{f'--{flag.name}={default}':<40}\t{flag.type}\t{flag.meaning}")
    return "\n".join(lines) + "\n"


def _parse_value(flag: Flag, text: str) -> int | str:
    if flag.type == "string":
        if flag.choices and text not in flag.choices:
            raise BadFlag(f"--{flag.name}={text}: expected one of {', '.join(flag.choices)}")
        return text
    limit = _RANGES[flag.type]
    if not _INTEGER.fullmatch(text) or not -limit <= int(text) < limit:
        raise BadFlag(f"--{flag.name}={text}: expected {flag.type}")
    return int(text)
