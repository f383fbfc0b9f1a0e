"""What the commands share: options that mean the same everywhere, and the way to fail.

With --json a command prints one JSON document on stdout, whatever happens: its result, or an object with `error`.
"""

import enum
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from twinserve.client import GatewayClient
from twinserve.places import default_url, environment, read_token

JSON_FLAG = "--json"
UNREADABLE = 2
"""The exit code for a command line that cannot be read, as Typer has it."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""

# Of a command line that cannot be read: an unknown option, a missing argument. Typer does not export its base.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__base__)


class Engine(enum.StrEnum):
    """The engines a client may name."""

    TORCHSERVE = "torchserve"
    TFSERVING = "tfserving"


Json = Annotated[bool, typer.Option(JSON_FLAG, help="Print one JSON document, also on failure; progress on stderr.")]
JsonLines = Annotated[bool, typer.Option(JSON_FLAG, help="Print each step as a line of JSON.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The gateway, as http://host:port; default TWINSERVE_URL, else this machine's at TWINSERVE_HTTP_PORT, "
        "else that of the `up` which runs from this folder, else port 8000.",
    ),
]


class Commands(TyperGroup):
    """All commands. A command line that cannot be read is told as JSON, too, where it has --json."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        if JSON_FLAG not in given:
            return super().main(given, *more, **options)
        try:
            code = super().main(given, *more, **{**options, "standalone_mode": False})
        except _USAGE_ERROR as error:
            typer.echo(json.dumps({"error": cast(Any, error).format_message()}))
            sys.exit(cast(Any, error).exit_code)
        sys.exit(code)


def gateway(url: str | None) -> GatewayClient:
    """The gateway that the user means, asked as an operator where there is a token. Raises ValueError."""
    return GatewayClient(url or default_url(environment()), read_token(environment()))


def fail(message: str, as_json: bool, code: int = 1, beside: Mapping[str, Any] | None = None) -> NoReturn:
    """End the command with an exit code; `beside` is what stands beside the error in a JSON document."""
    if as_json:
        typer.echo(json.dumps({**(beside or {}), "error": message}))  # in one line, for those who read lines
    else:
        typer.echo(f"twinserve: {message}", err=True)
    raise typer.Exit(code)
