"""The REST calls: what a route and a body ask for, as the JSON bytes of the answer. Raises Fault when it cannot be.

Order of evaluation: tensorflow_serving/model_servers/http_rest_api_handler.cc. A body that is no JSON is told before a
model that does not exist, and that before a signature that the model does not have.
"""

import json
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, regression_pb2

from contracts.tfserving_rest.answers import encode_classifications, encode_outputs, encode_regressions
from contracts.tfserving_rest.grammar import encode_text
from contracts.tfserving_rest.predict import decode_inputs, decode_signature_name
from contracts.tfserving_rest.routes import Route, Verb
from contracts.tfserving_rest.values import parse_json
from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.example_inference import ExampleInference
from workers.tf.embedded.faults import invalid
from workers.tf.embedded.json_examples import fill_input
from workers.tf.embedded.lookup import Lookup, ModelRequest
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.prediction import SIGNATURE_DEF, Execution, Prediction, Task
from workers.tf.embedded.savedmodel import Model
from workers.tf.embedded.signatures import DEFAULT
from workers.tf.embedded.status import encode_status
from workers.tf.embedded.tensors import dtype_name

Call = Callable[[ModelRequest, bytes, Deadline], bytes]


class RestPredict:
    """REST predict: arrays in JSON, straight to the version and back."""

    def __init__(self, lookup: Lookup[Model], execution: Execution) -> None:
        self._lookup = lookup
        self._execution = execution

    def __call__(self, target: ModelRequest, body: bytes, deadline: Deadline) -> bytes:
        """The answer in the format of the question. Raises Fault."""
        document = parse_json(body)
        asked = decode_signature_name(document)
        with self._lookup.lease(target) as leased:
            name = asked or DEFAULT
            signature = leased.servable.signatures.get(name)
            if signature is None:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            dtypes = {alias: dtype_name(info.dtype) for alias, info in signature.inputs.items()}
            given = decode_inputs(document, dtypes, asked)
            aliases = sorted(signature.outputs)
            task = Task(target.model, leased.servable, signature, deadline)
            outputs = self._execution.run(task, given.arrays, aliases)
        return encode_outputs(dict(zip(aliases, outputs, strict=True)), given.is_row)


class RestCalls:
    """One handler a verb."""

    def __init__(
        self, manager: Manager[Model], prediction: Prediction, predict: RestPredict, examples: ExampleInference
    ) -> None:
        self._manager = manager
        self._prediction = prediction
        self._examples = examples
        self._calls: dict[Verb, Call] = {
            Verb.STATUS: self._status,
            Verb.METADATA: self._metadata,
            Verb.CLASSIFY: self._classify,
            Verb.REGRESS: self._regress,
            Verb.PREDICT: predict,
        }

    def answer(self, route: Route, body: bytes, deadline: Deadline) -> bytes:
        """The body of the answer. Raises Fault."""
        target = ModelRequest(route.model, route.version, route.label)
        return self._calls[route.verb](target, body, deadline)

    def _status(self, target: ModelRequest, _body: bytes, _deadline: Deadline) -> bytes:
        return _document(_dictionary(encode_status(target, self._manager.statuses(target.model))))

    def _metadata(self, target: ModelRequest, _body: bytes, _deadline: Deadline) -> bytes:
        request: Any = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF])
        _fill_spec(request.model_spec, target)
        told = _dictionary(self._prediction.metadata(request))
        # The original prints the map of signatures, not the Any that carries it over gRPC.
        del told["metadata"][SIGNATURE_DEF]["@type"]
        return _document(told)

    def _classify(self, target: ModelRequest, body: bytes, deadline: Deadline) -> bytes:
        request: Any = classification_pb2.ClassificationRequest()
        _fill_request(request, target, body)
        result = self._examples.classify(request, deadline).result
        return encode_classifications(
            [[(entry.label.encode(), entry.score) for entry in row.classes] for row in result.classifications]
        )

    def _regress(self, target: ModelRequest, body: bytes, deadline: Deadline) -> bytes:
        request: Any = regression_pb2.RegressionRequest()
        _fill_request(request, target, body)
        result = self._examples.regress(request, deadline).result
        return encode_regressions([regression.value for regression in result.regressions])


def _fill_request(request: Any, target: ModelRequest, body: bytes) -> None:
    document = parse_json(body)
    _fill_spec(request.model_spec, target)
    request.model_spec.signature_name = encode_text(decode_signature_name(document)).decode("utf-8", "replace")
    fill_input(document, request.input)


def _fill_spec(spec: Any, target: ModelRequest) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label


def _dictionary(message: Any) -> dict[str, Any]:
    told: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told


def _document(told: dict[str, Any]) -> bytes:
    return json.dumps(told, indent=4).encode() + b"\n"
