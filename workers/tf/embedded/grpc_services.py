"""The gRPC dialect: PredictionService and ModelService. Calls not built yet answer UNIMPLEMENTED by themselves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import fault_of, invalid
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.model_config import decode_config
from workers.tf.embedded.prediction import Prediction, spec_request
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.savedmodel import SavedModel
from workers.tf.embedded.status import encode_status

T = TypeVar("T")

_MAX_MESSAGE = 1024
_CUT = "...TRUNCATED"
_STATUS = {code.value[0]: code for code in grpc.StatusCode}

# Without the last one two servers could share a port, each getting some of the connections.
_CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """tensorflow.serving.PredictionService."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """PredictResponse, or the fault's status."""
        deadline = Deadline.after(context.time_remaining())
        return _answer(context, lambda: self._prediction.predict(request, deadline))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """GetModelMetadataResponse, or the fault's status."""
        return _answer(context, lambda: self._prediction.metadata(request))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """tensorflow.serving.ModelService."""

    def __init__(self, manager: Manager[SavedModel], configuration: Configuration[SavedModel]) -> None:
        self._manager = manager
        self._configuration = configuration

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """GetModelStatusResponse, or the fault's status."""

        def status() -> Any:
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            target = spec_request(request.model_spec)
            return encode_status(target, self._manager.statuses(target.model))

        return _answer(context, status)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """ReloadConfigResponse once every newly named model is available, or the fault's status."""

        def reload() -> Any:
            self._configuration.apply(decode_config(request.config), is_abandoned=lambda: not context.is_active())
            return model_management_pb2.ReloadConfigResponse()

        return _answer(context, reload)


def build_grpc_server(predictions: PredictionService, models: ModelService, threads: int) -> grpc.Server:
    """A server of both services, bound to nothing yet; messages of any size."""
    server = grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="grpc"), options=_CHANNEL)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    return server


def _answer(context: grpc.ServicerContext, work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the edge of the dialect: every client gets an answer
        fault = fault_of(error)
    return context.abort(_STATUS[fault.code], _shortened(fault.message))


def _shortened(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + _CUT
