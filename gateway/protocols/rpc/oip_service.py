"""inference.GRPCInferenceService: the Open Inference Protocol's calls, and Triton's extensions of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf import json_format

from gateway.core.errors import NotFound, ServingError
from gateway.core.messages import InferAnswer
from gateway.core.router import VersionRoute
from gateway.protocols.call import Call, Question, Reply
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.conversation import Conversation, parse_version
from gateway.protocols.large_bodies import LARGE_STRINGS_BYTES, LargeBodies
from gateway.protocols.model_repository import ModelRepository
from gateway.protocols.rpc.calls import Caller, Told, account_of, parse, plain, told, unary
from gateway.protocols.rpc.oip_messages import decode_request, fill_response
from gateway.protocols.rpc.seats import Seats
from gateway.protocols.rpc.streams import stream
from gateway.protocols.witness import Account

SERVICE = "inference.GRPCInferenceService"
PROTOCOL = "oip_grpc"
INFER = f"{SERVICE}/ModelInfer"
STREAM_INFER = f"{SERVICE}/ModelStreamInfer"


class InferenceService:
    """Answers the service's calls. `messages` are the classes of the proto package `inference`, by name."""

    def __init__(
        self,
        messages: Any,
        conversation: Conversation,
        catalogue: Catalogue,
        repository: ModelRepository,
        large: LargeBodies,
    ) -> None:
        self._messages = messages
        self._large = large
        self._conversation = conversation
        self._witness = conversation.witness
        self._catalogue = catalogue
        self._repository = repository

    def handler(self, draining: asyncio.Event, seats: Seats) -> grpc.GenericRpcHandler:
        """The service, to be added to a server; its streams take a seat each, and end when `draining` is set."""
        at_once: dict[str, Callable[[Any], Any]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._index,
        }
        handlers = {name: plain(getattr(self._messages, f"{name}Request"), tell) for name, tell in at_once.items()}
        handlers["ModelInfer"] = unary(self._infer)
        handlers["RepositoryModelLoad"] = unary(self._load)
        handlers["RepositoryModelUnload"] = unary(self._unload)
        handlers["ModelStreamInfer"] = stream(self._infer_in_stream, draining, seats)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    # -- inference

    async def _infer(self, message: bytes, caller: Caller) -> Told:
        response = self._messages.ModelInferResponse()
        account = None if self._witness is None else account_of(self._witness, caller, INFER)
        reply = await self._answer(self._parse_infer(message, account), caller, account, response, response)
        metadata = (
            ("x-engine", reply.engine),
            ("x-model-version", str(reply.version)),
            ("server-timing", reply.server_timing),
        )
        return Told(reply.content, metadata)

    async def _infer_in_stream(self, message: bytes, caller: Caller) -> bytes:
        """A request of a stream has no metadata of its own: who answered is a parameter of the response."""
        whole = self._messages.ModelStreamInferResponse()
        account = None if self._witness is None else account_of(self._witness, caller, STREAM_INFER)
        try:
            request = self._parse_infer(message, account)
            whole.infer_response.id = request.id
            return (await self._answer(request, caller, account, whole.infer_response, whole)).content
        except ServingError as error:
            whole.error_message = error.message
            return bytes(whole.SerializeToString())

    def _parse_infer(self, message: bytes, account: Account | None) -> Any:
        with self._conversation.counting(PROTOCOL, "", None, account):
            return parse(self._messages.ModelInferRequest, message)

    async def _answer(
        self, request: Any, caller: Caller, account: Account | None, response: Any, whole: Any
    ) -> Reply[bytes]:
        """Fill `response` and serialize `whole`, which is it or holds it."""
        model: str = request.model_name
        version: str | None = request.model_version or None
        with self._conversation.counting(PROTOCOL, model, version, account):
            call = Call(
                protocol=PROTOCOL,
                model=model,
                version=parse_version(model, version),
                route_key=caller.route_key,
                engine=caller.engine,
                timeout_s=caller.timeout_s,
                started=caller.started,
                arrived=caller.arrived,
                account=account,
            )
            return await self._conversation.hold(call, _Body(request, response, whole, self._large).decode)

    # -- the server and its models

    def _server_live(self, _: Any) -> Any:
        return self._messages.ServerLiveResponse(live=True)

    def _server_ready(self, _: Any) -> Any:
        return self._messages.ServerReadyResponse(ready=self._catalogue.is_ready)

    def _model_ready(self, request: Any) -> Any:
        """A model that is not there is not ready: clients ask before they publish."""
        try:
            is_ready = self._catalogue.can_answer(request.name, request.version or None)
        except NotFound:
            is_ready = False
        return self._messages.ModelReadyResponse(ready=is_ready)

    def _server_metadata(self, _: Any) -> Any:
        return self._messages.ServerMetadataResponse(**self._catalogue.server())

    def _model_metadata(self, request: Any) -> Any:
        document = self._catalogue.model(request.name, request.version or None)
        return json_format.ParseDict(document, self._messages.ModelMetadataResponse())

    def _model_config(self, request: Any) -> Any:
        document = self._catalogue.config(request.name, request.version or None)
        return json_format.ParseDict({"config": document}, self._messages.ModelConfigResponse())

    def _model_statistics(self, request: Any) -> Any:
        documents = self._catalogue.statistics(request.name or None, request.version or None)
        return json_format.ParseDict({"model_stats": documents}, self._messages.ModelStatisticsResponse())

    # -- the model repository

    def _index(self, request: Any) -> Any:
        return self._messages.RepositoryIndexResponse(models=self._repository.index(request.ready))

    async def _load(self, message: bytes, caller: Caller) -> Told:
        request = parse(self._messages.RepositoryModelLoadRequest, message)
        await self._repository.load(request.model_name, _plain(request.parameters), caller.authorization)
        return told(self._messages.RepositoryModelLoadResponse())

    async def _unload(self, message: bytes, caller: Caller) -> Told:
        request = parse(self._messages.RepositoryModelUnloadRequest, message)
        await self._repository.unload(request.model_name, _plain(request.parameters), caller.authorization)
        return told(self._messages.RepositoryModelUnloadResponse())


class _Body:
    """One request for inference, and the response to it that is sent as `whole`: the response itself, or its holder."""

    __slots__ = ("_is_raw", "_large", "_request", "_response", "_whole")

    def __init__(self, request: Any, response: Any, whole: Any, large: LargeBodies) -> None:
        self._request = request
        self._response = response
        self._whole = whole
        self._large = large
        self._is_raw = False

    def decode(self, route: VersionRoute) -> Question[bytes] | Awaitable[Question[bytes]]:
        """See gateway.protocols.conversation.Decode."""
        if route.signature.takes_bytes and sum(map(len, self._request.raw_input_contents)) >= LARGE_STRINGS_BYTES:
            return self._large.take(lambda: self._read(route))
        return self._read(route)

    def _read(self, route: VersionRoute) -> Question[bytes]:
        asked = decode_request(self._request, route.signature)
        self._is_raw = asked.is_raw
        return Question(asked.inputs, self._encode, asked.outputs, asked.engine, asked.timeout_s)

    def _encode(self, answer: InferAnswer) -> bytes:
        fill_response(self._response, answer, self._request.id, self._is_raw)
        if self._whole is not self._response:
            self._response.parameters["engine"].string_param = answer.engine
        return bytes(self._whole.SerializeToString())


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the types they were sent in."""
    kinds = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], kind) if kind else "" for name, kind in kinds.items()}
