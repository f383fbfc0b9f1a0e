"""The gRPC dialect: PredictionService and ModelService."""

import time
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
from workers.tf.embedded.example_inference import ExampleInference
from workers.tf.embedded.faults import Code, Fault, fault_of, invalid
from workers.tf.embedded.grpc_listener import ChannelArguments
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.model_config import decode_config
from workers.tf.embedded.prediction import Prediction, spec_request
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.savedmodel import Model
from workers.tf.embedded.status import encode_status

T = TypeVar("T")

_MAX_MESSAGE = 1024
_CUT = "...TRUNCATED"
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """tensorflow.serving.PredictionService."""

    def __init__(self, prediction: Prediction, examples: ExampleInference, metrics: Metrics) -> None:
        self._prediction = prediction
        self._examples = examples
        self._metrics = metrics

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """PredictResponse, or the fault's status."""
        return self._infer("Predict", self._prediction.predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """ClassificationResponse, or the fault's status."""
        return self._infer("Classify", self._examples.classify, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """RegressionResponse, or the fault's status."""
        return self._infer("Regress", self._examples.regress, request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """MultiInferenceResponse, or the fault's status."""
        deadline = Deadline.after(context.time_remaining())
        return _answer(context, lambda: self._examples.multi_infer(request, deadline))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """GetModelMetadataResponse, or the fault's status."""
        return _answer(context, lambda: self._prediction.metadata(request))

    def _infer(
        self, api: str, use_case: Callable[[Any, Deadline], T], request: Any, context: grpc.ServicerContext
    ) -> T:
        deadline = Deadline.after(context.time_remaining())
        model = request.model_spec.name
        started_s = time.monotonic()

        def counted() -> T:
            code = Code.UNKNOWN
            try:
                answer = use_case(request, deadline)
                code = Code.OK
                elapsed_us = (time.monotonic() - started_s) * 1e6
                self._metrics.request_latency.observe(elapsed_us, model, api, "GRPC")
            except Fault as fault:
                code = fault.code
                raise
            finally:
                self._metrics.request_count.add(model, code.name)
            return answer

        return _answer(context, counted)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """tensorflow.serving.ModelService."""

    def __init__(self, manager: Manager[Model], configuration: Configuration[Model], metrics: Metrics) -> None:
        self._manager = manager
        self._configuration = configuration
        self._metrics = metrics

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """GetModelStatusResponse, or the fault's status."""

        def status() -> Any:
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            target = spec_request(request.model_spec)
            return encode_status(target, self._manager.statuses(target.model))

        return _answer(context, status)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the stub's name
        """ReloadConfigResponse once every newly named model is available, or the fault's status.

        The response tells of every counter named in the request by how much it grew meanwhile.
        """

        def reload() -> Any:
            before = self._metrics.counts()
            self._configuration.apply(decode_config(request.config), is_abandoned=lambda: not context.is_active())
            response: Any = model_management_pb2.ReloadConfigResponse()
            after = self._metrics.counts()
            for name in request.metric_names:
                for values, count in after.get(name.replace("/", ":"), {}).items():
                    grown = count - before.get(name.replace("/", ":"), {}).get(values, 0)
                    response.metric.add(name=f"{name}{{{','.join(values)}}}", int64_value_increase=grown)
            return response

        return _answer(context, reload)


def build_grpc_server(
    predictions: PredictionService, models: ModelService, threads: int, arguments: ChannelArguments
) -> grpc.Server:
    """A server of both services, bound to nothing yet."""
    server = grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="grpc"), options=arguments)
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
