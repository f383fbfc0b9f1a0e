"""Server reflection, as v1alpha and as v1, which differ in name only: what tools like grpcurl ask first.

The servicer is grpcio-reflection's, over our own descriptor pool: the default one knows none of our services.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from gateway.core.errors import ServingError
from gateway.protocols.rpc.calls import caller_of, refuse
from gateway.protocols.rpc.seats import Seats
from gateway.protocols.rpc.streams import until_set

SERVICE = "grpc.reflection.v1alpha.ServerReflection"
NAMES = (SERVICE, "grpc.reflection.v1.ServerReflection")


def reflection_handlers(
    services: Iterable[str], pool: Any, draining: asyncio.Event, seats: Seats
) -> tuple[grpc.GenericRpcHandler, ...]:
    """The services, to be added to a server; each call takes a seat.

    `pool` describes `services` already, and will describe this one too.
    """
    for described in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(described.serialized_pb)
    servicer = aio.ReflectionServicer([*services, SERVICE], pool)

    async def inform(requests: AsyncIterator[Any], context: Any) -> None:
        try:
            with seats.taken():
                async for response in servicer.ServerReflectionInfo(until_set(draining, requests), context):
                    await context.write(response)
        except ServingError as error:
            await refuse(context, caller_of(context), error)

    call: Any = grpc.stream_stream_rpc_method_handler(
        inform,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": call}) for name in NAMES)
