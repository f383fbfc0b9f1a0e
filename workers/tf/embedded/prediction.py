"""The use cases predict and metadata: message in, message out, Fault when it cannot be.

`Execution` is what every inference goes through, whatever its dialect and whatever its API.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import invalid
from workers.tf.embedded.lookup import Lookup, ModelRequest
from workers.tf.embedded.metrics import RUNTIME, Metrics
from workers.tf.embedded.savedmodel import Array, Model
from workers.tf.embedded.signatures import DEFAULT, check_shape, choose_outputs, find_signature, match_inputs
from workers.tf.embedded.tensors import Encoding, decode_tensor, encode_tensor

SIGNATURE_DEF = "signature_def"
PREDICT_API = "Predict"


@dataclass(frozen=True)
class Task:
    """What one inference computes: of which model (`name` is for metrics), through which SignatureDef, until when."""

    name: str
    model: Model
    signature: Any
    deadline: Deadline
    api: str = PREDICT_API


class Execution:
    """Runs a signature. `is_strict`: hold input shapes against the signature first."""

    def __init__(self, is_strict: bool, metrics: Metrics) -> None:
        self._is_strict = is_strict
        self._metrics = metrics

    def run(self, task: Task, inputs: Mapping[str, Array], aliases: Sequence[str]) -> list[Array]:
        """Feed arrays by input alias, return those of the output `aliases`, in their order. Raises Fault."""
        infos = task.signature.inputs
        if self._is_strict:
            for alias, array in inputs.items():
                check_shape(alias, infos[alias], array.shape)
        feeds = [(infos[alias].name, array) for alias, array in inputs.items()]
        started_s = time.monotonic()
        outputs = task.model.run(feeds, [task.signature.outputs[alias].name for alias in aliases], task.deadline)
        self._metrics.runtime_latency.observe((time.monotonic() - started_s) * 1e6, task.name, task.api, RUNTIME)
        return outputs


class Prediction:
    """Answers from the versions `lookup` finds."""

    def __init__(self, lookup: Lookup[Model], execution: Execution, encoding: Encoding) -> None:
        self._lookup = lookup
        self._execution = execution
        self._encoding = encoding

    def predict(self, request: Any, deadline: Deadline) -> Any:
        """PredictRequest to PredictResponse. Raises Fault."""
        target = model_request(request)
        with self._lookup.lease(target) as leased:
            response = self.predict_with(leased.servable, request, deadline)
            response.model_spec.version.value = leased.version
        return response

    def predict_with(self, model: Model, request: Any, deadline: Deadline) -> Any:
        """The same through a version already held; the response names none. Raises Fault."""
        name = request.model_spec.signature_name or DEFAULT
        signature = find_signature(model.signatures, name)
        matched = match_inputs(signature, request.inputs)
        inputs = {alias: decode_tensor(alias, proto) for alias, proto in matched.items()}
        aliases = choose_outputs(signature, request.output_filter)
        outputs = self._execution.run(Task(request.model_spec.name, model, signature, deadline), inputs, aliases)
        response: Any = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        for alias, array in zip(aliases, outputs, strict=True):
            response.outputs[alias].CopyFrom(encode_tensor(array, self._encoding))
        return response

    def metadata(self, request: Any) -> Any:
        """GetModelMetadataRequest to GetModelMetadataResponse. Raises Fault."""
        target = model_request(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        with self._lookup.lease(target) as leased:
            signatures: Any = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in leased.servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            response: Any = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = target.model
            response.model_spec.version.value = leased.version
            response.metadata[SIGNATURE_DEF].Pack(signatures)
            return response


def model_request(request: Any) -> ModelRequest:
    """What a message with a ModelSpec asks for. Raises Fault(INVALID_ARGUMENT) when it names no model."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return named_request(request.model_spec)


def named_request(spec: Any) -> ModelRequest:
    """What a ModelSpec asks for. Raises Fault(INVALID_ARGUMENT) when it names no model."""
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return spec_request(spec)


def spec_request(spec: Any) -> ModelRequest:
    """What a ModelSpec asks for."""
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRequest(spec.name, version=spec.version.value)
        case "version_label":
            return ModelRequest(spec.name, label=spec.version_label)
        case _:
            return ModelRequest(spec.name)
