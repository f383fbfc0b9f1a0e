"""What the gRPC server listens with: channel arguments, TLS, addresses."""

from pathlib import Path

import grpc

from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.schemas import message_class, read_text_message

ChannelArguments = list[tuple[str, int | str]]

# Without the last one two servers could share a port, each getting some of the connections.
_DEFAULTS: ChannelArguments = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]
_INT32 = 2**31


def channel_arguments(text: str) -> ChannelArguments:
    """`key=value,key=value` on top of our own; a value that reads as an int32 is one.

    Raises Fault(INVALID_ARGUMENT) for a pair without a value.
    """
    given: ChannelArguments = []
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise invalid(f"--grpc_channel_arguments: {pair!r} is not key=value")
        digits = value.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and -_INT32 <= int(value) < _INT32
        given.append((key, int(value) if is_number else value))
    named = {key for key, _ in given}
    return [argument for argument in _DEFAULTS if argument[0] not in named] + given


def server_credentials(ssl_config_file: str) -> grpc.ServerCredentials | None:
    """The credentials an SSLConfig file describes, None without a file.

    Raises Fault(INVALID_ARGUMENT) when the file, or what it holds, is not usable, OSError when it cannot be read.
    """
    if not ssl_config_file:
        return None
    config = read_text_message(Path(ssl_config_file), message_class("SSLConfig")())
    try:
        return grpc.ssl_server_credentials(
            [(config.server_key.encode(), config.server_cert.encode())],
            root_certificates=config.custom_ca.encode() or None,
            require_client_auth=config.client_verify,
        )
    except ValueError as error:
        raise invalid(f"'{ssl_config_file}': {error}") from error


def listen(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    """Bind the server to one more address. Raises Fault(UNAVAILABLE)."""
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise Fault(Code.UNAVAILABLE, f"Cannot listen on {address}: {error}") from error
