"""The descriptors of every message that crosses a process boundary, in a pool of their own.

The classes are made from `protos/messages.binpb`. protoc's Python modules would register in the process-wide default
pool, where the official packages (tensorflow-serving-api, tritonclient) register the same names: a process that also
holds those, as tests do, keeps both definitions apart.
"""

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTOR_SET = "messages.binpb"


def load_pool() -> Any:
    """A fresh google.protobuf.descriptor_pool.DescriptorPool with all our files, and those they import."""
    described = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("contracts.protos") / DESCRIPTOR_SET).read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    return pool


class Package:
    """Message classes of one proto package as attributes; made at run time, hence untyped. Raises KeyError."""

    def __init__(self, pool: Any, name: str) -> None:
        self._pool = pool
        self._name = name

    def __getattr__(self, message: str) -> Any:
        made = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._name}.{message}"))
        setattr(self, message, made)  # found without this method from now on
        return made
