"""grpc.health.v1, served by hand: two messages and a constant answer do not need another dependency.

Ports open when all models are available, so whoever can ask at all is told SERVING. `Watch` is left out: a watch would
hold one of the server's threads for as long as its client likes, and clients take UNIMPLEMENTED for healthy.
"""

from typing import Any

import grpc

from workers.tf.embedded.schemas import message_class

_SERVICE = "grpc.health.v1.Health"
_KNOWN = frozenset({"", "ModelService", "PredictionService"})
_SERVING = 1


def health_handler() -> grpc.GenericRpcHandler:
    """Answers Check about the services the original knows; NOT_FOUND about others."""
    request, response = message_class("HealthCheckRequest"), message_class("HealthCheckResponse")

    def check(question: Any, context: grpc.ServicerContext) -> Any:
        if question.service not in _KNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        return response(status=_SERVING)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        check, request.FromString, response.SerializeToString
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"Check": handler})
