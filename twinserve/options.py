"""What the commands share: options that mean the same everywhere, and the way to fail."""

import enum
from typing import Annotated, NoReturn

import typer

from twinserve.client import GatewayClient
from twinserve.places import default_url, environment, read_token


class Engine(enum.StrEnum):
    """The engines a client may name."""

    TORCHSERVE = "torchserve"
    TFSERVING = "tfserving"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The gateway; default TWINSERVE_URL, else this machine's.")]


def gateway(url: str | None) -> GatewayClient:
    """The gateway that the user means, asked as an operator where there is a token. Raises ValueError."""
    return GatewayClient(url or default_url(environment()), read_token(environment()))


def fail(message: str) -> NoReturn:
    """End the command with exit code 1."""
    typer.echo(f"twinserve: {message}", err=True)
    raise typer.Exit(1)
