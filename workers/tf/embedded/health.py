"""grpc.health.v1, served by hand: two messages and two calls do not need another dependency.

Ports open when all models are available, so whoever can ask at all is told SERVING, until the server stops.
"""

import threading
from collections.abc import Callable
from typing import Any

import grpc

from workers.tf.embedded.schemas import message_class

_SERVICE = "grpc.health.v1.Health"
_KNOWN = frozenset({"", "ModelService", "PredictionService"})
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3

Send = Callable[[Any], None]


class Health:
    """Answers about the services the original knows. Call `stop` once the gRPC server takes no more calls."""

    def __init__(self) -> None:
        self._request, self._response = message_class("HealthCheckRequest"), message_class("HealthCheckResponse")
        self._watches = _Watches(self._response)

    def handler(self) -> grpc.GenericRpcHandler:
        """Check and Watch, to be added to a gRPC server."""
        watches: Any = self._watches  # the stubs know nothing of behaviours that do not block
        check: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._check, self._request.FromString, self._response.SerializeToString
        )
        watch: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
            watches, self._request.FromString, self._response.SerializeToString
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"Check": check, "Watch": watch})

    def stop(self) -> None:
        """Tell whoever watches that this is the end."""
        self._watches.stop()

    def _check(self, question: Any, context: grpc.ServicerContext) -> Any:
        if question.service not in _KNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        return self._response(status=_SERVING)


class _Watches:
    """The behaviour of Watch: a stream that tells the state at once, and again when it changes."""

    # gRPC then passes a callback to send with, and a watch, which lasts as long as its client likes, holds no thread.
    experimental_non_blocking = True

    def __init__(self, response: Any) -> None:
        self._response = response
        self._lock = threading.Lock()
        self._ends: set[Callable[[], None]] = set()
        self._is_stopping = False

    def __call__(self, question: Any, context: grpc.ServicerContext, send: Send) -> None:
        is_known = question.service in _KNOWN
        # Told before it is entered, so that the end cannot overtake the beginning.
        send(self._response(status=_SERVING if is_known else _SERVICE_UNKNOWN))

        def end() -> None:
            if is_known:
                send(self._response(status=_NOT_SERVING))
            send(None)

        with self._lock:
            is_late = self._is_stopping
            if not is_late:
                self._ends.add(end)
        if is_late:
            end()
        elif not context.add_callback(lambda: self._forget(end)):
            # The client left before the callback was there to hear of it.
            self._forget(end)

    def stop(self) -> None:
        with self._lock:
            self._is_stopping = True
            ends = list(self._ends)
        for end in ends:
            end()

    def _forget(self, end: Callable[[], None]) -> None:
        with self._lock:
            self._ends.discard(end)
