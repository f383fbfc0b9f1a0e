"""tensorflow.serving.PredictionService and ModelService, as far as a gateway can answer them.

Codes and messages are TensorFlow Serving's. The calls that need a graph (Classify, Regress, MultiInference) and the one
that would change what engines hold (HandleReloadConfigRequest) are UNIMPLEMENTED.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from contracts.tfserving import MODEL_SERVICE, PREDICT_SERVICE, Messages
from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.router import Router, VersionRoute
from gateway.core.tensors import Signature
from gateway.protocols import tfserving_rules as rules
from gateway.protocols.call import Call, Question, Reply
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.conversation import Conversation
from gateway.protocols.rpc.calls import Caller, Told, account_of, parse, plain, told, unary
from gateway.protocols.rpc.tf_tensors import decode_tensor, encode_tensor, read_shape, read_type
from gateway.protocols.witness import Account

PROTOCOL = "tfserving_grpc"
PREDICT = f"{PREDICT_SERVICE}/Predict"
SIGNATURE_DEF = "signature_def"

Signatures = Callable[[str, int, Signature], Awaitable[Any]]
"""The SignatureDefMap of a version of a model that has this signature."""

_UNKNOWN = 2  # tensorflow.error.Code of what failed to load


class TensorFlowServices:
    """Answers both services' calls."""

    def __init__(
        self,
        messages: Messages,
        conversation: Conversation,
        router: Router,
        catalogue: Catalogue,
        signatures: Signatures,
    ) -> None:
        self._messages = messages
        self._conversation = conversation
        self._witness = conversation.witness
        self._router = router
        self._catalogue = catalogue
        self._signatures = signatures

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The services, to be added to a server."""
        prediction = {"Predict": unary(self._predict), "GetModelMetadata": unary(self._metadata)}
        model = {"GetModelStatus": plain(self._messages.GetModelStatusRequest, self._status)}
        return (
            grpc.method_handlers_generic_handler(PREDICT_SERVICE, prediction),
            grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
        )

    async def _predict(self, message: bytes, caller: Caller) -> Told:
        account = None if self._witness is None else account_of(self._witness, caller, PREDICT)
        with self._conversation.counting(PROTOCOL, "", None, account):
            request = parse(self._messages.PredictRequest, message)
        reply = await self._answer(request, caller, account)
        metadata = (("x-model-version", str(reply.version)), ("server-timing", reply.server_timing))
        return Told(reply.content, (*metadata, ("x-engine", reply.engine)) if reply.engine else metadata)

    async def _answer(self, request: Any, caller: Caller, account: Account | None) -> Reply[bytes]:
        written = request.model_spec
        version = str(written.version.value) if written.WhichOneof("version_choice") == "version" else None
        with self._conversation.counting(PROTOCOL, written.name, version, account):
            model = _named(_spec(request)).model
            call = Call(
                protocol=PROTOCOL,
                model=model,
                version=rules.resolve(self._router, _spec(request)),
                route_key=caller.route_key,
                engine=caller.engine,
                timeout_s=caller.timeout_s,
                started=caller.started,
                arrived=caller.arrived,
                account=account,
            )
            with rules.in_their_words(model, call.version):
                return await self._conversation.hold(call, partial(self._decode_predict, request))

    def _decode_predict(self, request: Any, route: VersionRoute) -> Question[bytes]:
        """In TensorFlow Serving's order, so that of several faults the same one is told. Raises InvalidRequest."""
        signature = route.signature
        name = request.model_spec.signature_name
        rules.check_signature_name(name)
        rules.check_input_names(request.inputs, signature)
        protos = {alias: request.inputs[alias] for alias in sorted(request.inputs)}
        shapes = {alias: read_shape(alias, proto) for alias, proto in protos.items()}
        types = {alias: read_type(alias, proto) for alias, proto in protos.items()}
        rules.check_output_filter(request.output_filter, signature)
        rules.check_tensors(shapes, types, signature)

        def encode(answer: InferAnswer) -> bytes:
            response = self._messages.PredictResponse()
            response.model_spec.name = answer.model
            response.model_spec.version.value = answer.version
            response.model_spec.signature_name = name or rules.DEFAULT_SIGNATURE
            for alias, tensor in answer.outputs.items():
                encode_tensor(response.outputs[alias], tensor)
            return bytes(response.SerializeToString())

        inputs = {alias: decode_tensor(alias, proto) for alias, proto in protos.items()}
        return Question(inputs, encode, tuple(request.output_filter), may_be_empty=True)

    async def _metadata(self, message: bytes, _: Caller) -> Told:
        request = parse(self._messages.GetModelMetadataRequest, message)
        spec = _named(_spec(request))
        if not request.metadata_field:
            raise InvalidRequest("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise InvalidRequest(f"Metadata field {field} is not supported")
        route = self._router.version(spec.model, rules.resolve(self._router, spec))
        response = self._messages.GetModelMetadataResponse()
        response.model_spec.name = spec.model
        response.model_spec.version.value = route.version
        signatures = await self._signatures(spec.model, route.version, route.signature)
        response.metadata[SIGNATURE_DEF].type_url = f"type.googleapis.com/{signatures.DESCRIPTOR.full_name}"
        response.metadata[SIGNATURE_DEF].value = signatures.SerializeToString()
        return told(response)

    def _status(self, request: Any) -> Any:
        spec = _spec(request)
        response = self._messages.GetModelStatusResponse()
        for status in rules.list_states(self._catalogue.states(spec.model), spec):
            entry = response.model_version_status.add(version=status.version, state=status.state)
            entry.status.error_code = 0 if status.failure is None else _UNKNOWN
            entry.status.error_message = status.failure or ""
        return response


def _spec(request: Any) -> rules.ModelSpec:
    """What a message calls its model. Raises InvalidRequest when it says nothing about one."""
    if not request.HasField("model_spec"):
        raise InvalidRequest("Missing ModelSpec")
    spec = request.model_spec
    match spec.WhichOneof("version_choice"):
        case "version":
            return rules.ModelSpec(spec.name, version=spec.version.value)
        case "version_label":
            return rules.ModelSpec(spec.name, label=spec.version_label)
        case _:
            return rules.ModelSpec(spec.name)


def _named(spec: rules.ModelSpec) -> rules.ModelSpec:
    """Raises InvalidRequest for a model without a name."""
    if not spec.model:
        raise InvalidRequest("ModelSpec has no name specified.")
    return spec
