"""Every gRPC service of the gateway, in one list."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from contracts.tfserving import MODEL_SERVICE, PREDICT_SERVICE
from gateway.core.router import Router
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.rpc import health, oip_service
from gateway.protocols.rpc.health import Health
from gateway.protocols.rpc.oip_service import InferenceService
from gateway.protocols.rpc.reflection import reflection_handlers
from gateway.protocols.rpc.seats import MOST_STREAMS, MOST_WATCHES, Seats
from gateway.protocols.rpc.tf_service import TensorFlowServices

MODEL_SERVICES = (oip_service.SERVICE, PREDICT_SERVICE, MODEL_SERVICE)
_SHORT_NAMES = (PREDICT_SERVICE.rpartition(".")[2], MODEL_SERVICE.rpartition(".")[2])  # TensorFlow Serving's health


def make_services(
    pool: Any, inference: InferenceService, tensorflow: TensorFlowServices, catalogue: Catalogue, router: Router
) -> Callable[[asyncio.Event], tuple[grpc.GenericRpcHandler, ...]]:
    """What makes the handlers, once there is an event that ends their long calls. `pool` describes the messages."""

    def make(draining: asyncio.Event) -> tuple[grpc.GenericRpcHandler, ...]:
        checked = Health(catalogue, router, frozenset((*MODEL_SERVICES, *_SHORT_NAMES)))
        watches = Seats(MOST_WATCHES, "watches of health and calls of reflection")
        return (
            inference.handler(draining, Seats(MOST_STREAMS, "streams of inference")),
            *tensorflow.handlers(),
            checked.handler(draining, watches),
            *reflection_handlers((*MODEL_SERVICES, health.SERVICE), pool, draining, watches),
        )

    return make
