"""The use cases behind PredictionService: message in, message out, Fault when it cannot be."""

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import invalid
from workers.tf.embedded.lookup import Lookup, ModelRequest
from workers.tf.embedded.savedmodel import Array, SavedModel
from workers.tf.embedded.signatures import DEFAULT, check_shape, choose_outputs, find_signature, match_inputs
from workers.tf.embedded.tensors import decode_tensor, encode_tensor

SIGNATURE_DEF = "signature_def"


class Prediction:
    """Answers from the versions `lookup` finds. `is_strict`: hold input shapes against the signature first."""

    def __init__(self, lookup: Lookup[SavedModel], is_strict: bool) -> None:
        self._lookup = lookup
        self._is_strict = is_strict

    def predict(self, request: Any, deadline: Deadline) -> Any:
        """PredictRequest to PredictResponse. Raises Fault."""
        with self._lookup.lease(model_request(request)) as leased:
            name = request.model_spec.signature_name or DEFAULT
            signature = find_signature(leased.servable.signatures, name)
            matched = match_inputs(signature, request.inputs)
            inputs = {alias: decode_tensor(alias, proto) for alias, proto in matched.items()}
            aliases = choose_outputs(signature, request.output_filter)
            outputs = self._run(leased.servable, signature, inputs, aliases, deadline)
            response: Any = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.signature_name = name
            response.model_spec.version.value = leased.version
        for alias, array in zip(aliases, outputs, strict=True):
            response.outputs[alias].CopyFrom(encode_tensor(array))
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

    def _run(
        self, model: SavedModel, signature: Any, inputs: dict[str, Array], aliases: list[str], deadline: Deadline
    ) -> list[Array]:
        if self._is_strict:
            for alias, array in inputs.items():
                check_shape(alias, signature.inputs[alias], array.shape)
        feeds = [(signature.inputs[alias].name, array) for alias, array in inputs.items()]
        return model.run(feeds, [signature.outputs[alias].name for alias in aliases], deadline)


def model_request(request: Any) -> ModelRequest:
    """What a message with a ModelSpec asks for. Raises Fault(INVALID_ARGUMENT) when it names no model."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
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
