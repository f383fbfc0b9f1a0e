"""Where the servers of an engine are, as settings write it: `host`, or `host:port/port…`, several after commas.

A host is an IP address, one of version 6 in brackets, or a name, which may have several addresses. The ports stand in
the order of the engine's settings; those left out are as these say.
"""

import ipaddress
import re
from dataclasses import dataclass

_ENTRY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/,\[\]]+)(?::(?P<ports>[0-9]+(?:/[0-9]+)*))?")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server, or those that a name stands for: the host without brackets, and its ports."""

    host: str
    ports: tuple[int, ...]

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, and nothing has to be looked up."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True

    def at(self, port: int) -> str:
        """`host:port` for one of its ports, by its place."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.ports[port]}"

    def endpoint(self, engine: str) -> str:
        """The name of the endpoint that it is; see gateway.core.ports.Engine."""
        return f"{engine}/{self.at(0)}"


def read_addresses(text: str, ports: tuple[int, ...]) -> tuple[ServerAddress, ...]:
    """The servers listed in `text`; `ports` are for those that name none. Raises ValueError that says what is wrong."""
    found = tuple(_read_one(entry.strip(), ports) for entry in text.split(","))
    places = [(address.host, port) for address in found for port in address.ports]
    if len(set(places)) < len(places):
        raise ValueError(f"expected every endpoint once, and each with ports of its own, got {text!r}")
    return found


def _read_one(entry: str, ports: tuple[int, ...]) -> ServerAddress:
    match = _ENTRY.fullmatch(entry)
    given = tuple(int(port) for port in match["ports"].split("/")) if match and match["ports"] else ()
    if not match or len(given) > len(ports) or not all(0 < port < 65536 for port in given):
        pattern = ":port" + "/port" * (len(ports) - 1)
        raise ValueError(f"expected host or host{pattern}, several after commas, got {entry!r}")
    return ServerAddress(match["host"].strip("[]"), given + ports[len(given) :])
