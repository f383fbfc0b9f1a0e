"""Ports of the platform, each set by the environment variable TWINSERVE_<NAME>_PORT, and where the engines listen."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address

LOOPBACK = "127.0.0.1"
ENGINE_ADDRESS_VARIABLE = "TWINSERVE_ENGINE_ADDRESS"


@dataclass(frozen=True)
class Ports:
    """TCP ports, all on one host. The defaults are the published contract of twinserve."""

    http: int = 8000
    grpc: int = 8001
    torchserve_inference: int = 8080
    torchserve_management: int = 8081
    torchserve_metrics: int = 8082
    torchserve_grpc_inference: int = 7070
    torchserve_grpc_management: int = 7071
    tfserving_grpc: int = 8500
    tfserving_rest: int = 8501

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ports":
        """Raises ValueError naming the variable when one is not a port number; one that is empty counts as not set."""
        given: dict[str, int] = {}
        for field in fields(cls):
            text = environment.get(variable(field.name))
            if not text:
                continue
            if not text.isdecimal() or not 0 < int(text) < 65536:
                raise ValueError(f"{variable(field.name)}={text!r} is not a port (1 to 65535)")
            given[field.name] = int(text)
        return cls(**given)

    def to_environment(self) -> dict[str, str]:
        """The variables that make another process read these ports."""
        return {variable(field.name): str(getattr(self, field.name)) for field in fields(self)}


def variable(name: str) -> str:
    """The environment variable of one port, e.g. TWINSERVE_HTTP_PORT."""
    return f"TWINSERVE_{name.upper()}_PORT"


def engine_address(environment: Mapping[str, str]) -> str:
    """The IPv4 address that engines listen on: TWINSERVE_ENGINE_ADDRESS, else loopback.

    Raises ValueError naming the variable when it is none.
    """
    text = environment.get(ENGINE_ADDRESS_VARIABLE) or LOOPBACK
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise ValueError(f"{ENGINE_ADDRESS_VARIABLE}={text!r} is not an IPv4 address") from error
