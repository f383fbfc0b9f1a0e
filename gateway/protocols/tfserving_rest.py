"""TensorFlow Serving's REST dialect for every model: predict by rows and columns, status, metadata.

Routes, JSON and wording are contracts.tfserving_rest, which the embedded engine speaks by, too; what a request is held
against is gateway.protocols.tfserving_rules. Order of evaluation: tensorflow_serving/model_servers/
http_rest_api_handler.cc. A body that is no JSON is told before a model that does not exist, that before a signature
that the model does not have.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import Response

from contracts.tfserving_rest import answers, predict, values
from contracts.tfserving_rest.refusals import Kind, Refusal
from contracts.tfserving_rest.routes import Route, Verb, parse_route
from gateway.core.errors import InvalidRequest, ServingError, Unsupported
from gateway.core.messages import InferAnswer
from gateway.core.router import Router, VersionRoute
from gateway.core.tensors import Signature, Tensor
from gateway.protocols import tfserving_rules as rules
from gateway.protocols.call import Question, Reply
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.exchange import ACCOUNT, Exchange, HttpContent, error_response, make_call
from gateway.protocols.large_bodies import LargeBodies

T = TypeVar("T")

JSON = {"Content-Type": "application/json"}
_LARGE_BYTES = 8 * 1024
_LARGE_ELEMENTS = 2048
_EXACT_BYTES = 256 * 1024

Signatures = Callable[[str, int, Signature], Awaitable[Any]]
"""The SignatureDefMap of a version of a model that has this signature."""


class TensorFlowRest:
    """Answers what is under /v1."""

    protocol = "tfserving_rest"

    def __init__(
        self, exchange: Exchange, router: Router, catalogue: Catalogue, signatures: Signatures, timeout_s: float
    ) -> None:
        """`timeout_s` is how long a large body may wait for being read."""
        self._exchange = exchange
        self._router = router
        self._catalogue = catalogue
        self._signatures = signatures
        self._reading = LargeBodies(timeout_s)
        self._writing = LargeBodies(timeout_s)

    def encode_error(self, error: ServingError) -> bytes:
        """See gateway.protocols.exchange.Dialect."""
        return answers.encode_error(error.message)

    async def handle(self, request: Request) -> Response:
        """Answer any request under /v1, by its path as it was sent."""
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            return Response(status_code=200 if "http://" in origin or "https://" in origin else 400)
        try:
            with _in_our_errors():
                route = parse_route(request.method, _target(request))
            spec = rules.ModelSpec(route.model, route.version, route.label)
            match route.verb:
                case Verb.PREDICT:
                    return await self._predict(request, route, spec)
                case Verb.STATUS:
                    return Response(self._status(spec), headers=JSON)
                case Verb.METADATA:
                    return Response(await self._metadata(spec), headers=JSON)
                case _:
                    return await self._exchange.answer(
                        self, request, _asked(route), lambda: self._refuse_examples(request, route.verb, spec)
                    )
        except ServingError as error:
            return error_response(error, self.encode_error(error))

    async def _predict(self, request: Request, route: Route, spec: rules.ModelSpec) -> Response:
        arrived = make_call(self, request, spec.model, None)

        async def ask() -> Reply[HttpContent]:
            body = await self._exchange.read(request)
            document, name = await self._aside(len(body), lambda: _parse(body))
            version = rules.resolve(self._router, spec)
            call = replace(arrived, version=version, account=request.scope.get(ACCOUNT))

            async def decode(version: VersionRoute) -> Question[HttpContent]:
                question = await self._aside(len(body), lambda: decode_predict(document, name, version.signature))
                return question._replace(encode_aside=lambda answer: self._write(question, answer))

            with rules.in_their_words(spec.model, call.version):
                return await self._exchange.hold(call, decode)

        return await self._exchange.answer(self, request, _asked(route), ask)

    async def _aside(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Do what a large body takes in a thread. Raises Overloaded, DeadlineExceeded."""
        return work() if size_bytes <= _LARGE_BYTES else await self._reading.take(work)

    async def _write(self, question: Question[HttpContent], answer: InferAnswer) -> HttpContent:
        if sum(tensor.size for tensor in answer.outputs.values()) <= _LARGE_ELEMENTS:
            return question.encode(answer)
        return await self._writing.finish(lambda: question.encode(answer))

    def _status(self, spec: rules.ModelSpec) -> bytes:
        """A label is passed over, as the original does."""
        entries = [
            {
                "version": str(told.version),
                "state": told.state,
                "status": {
                    "error_code": "OK" if told.failure is None else "UNKNOWN",
                    "error_message": told.failure or "",
                },
            }
            for told in rules.list_states(self._catalogue.states(spec.model), spec)
        ]
        return _document({"model_version_status": entries})

    async def _metadata(self, spec: rules.ModelSpec) -> bytes:
        version = self._router.version(spec.model, rules.resolve(self._router, spec))
        signatures = await self._signatures(spec.model, version.version, version.signature)
        told = json_format.MessageToDict(
            signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        model_spec = {"name": spec.model, "signature_name": "", "version": str(version.version)}
        return _document({"model_spec": model_spec, "metadata": {"signature_def": told}})

    async def _refuse_examples(self, request: Request, verb: Verb, spec: rules.ModelSpec) -> NoReturn:
        """No model here takes tf.Examples: told as the original tells of a signature that was not made for them."""
        body = await self._exchange.read(request)
        _, name = await self._aside(len(body), lambda: _parse(body))
        version = self._router.version(spec.model, rules.resolve(self._router, spec))
        if name not in ("", rules.DEFAULT_SIGNATURE):
            raise InvalidRequest(f"No signature was found with the name: {name}")
        signatures = await self._signatures(spec.model, version.version, version.signature)
        noun = "classification" if verb is Verb.CLASSIFY else "regression"
        described = signatures.signature_def[rules.DEFAULT_SIGNATURE]
        raise InvalidRequest(f"No {noun} inputs found in SignatureDef: {described}")


def _write(outputs: dict[str, Tensor], is_row: bool) -> HttpContent:
    """The body of a predict answer. Raises InvalidRequest, Unsupported for what JSON does not carry."""
    with _in_our_errors():
        return answers.encode_outputs(outputs, is_row), dict(JSON)


def decode_predict(document: dict[str, Any], name: str, signature: Signature) -> Question[HttpContent]:
    """The question in the body of a predict request for the signature `name`. Raises InvalidRequest, Unsupported."""
    if name not in ("", rules.DEFAULT_SIGNATURE):
        raise InvalidRequest(f'Serving signature name: "{name}" not found in signature def')
    types = {spec.name: rules.TYPE_NAMES[spec.datatype] for spec in signature.inputs}
    with _in_our_errors():
        given = predict.decode_inputs(document, types, name)
    rules.check_tensors({alias: array.shape for alias, array in given.arrays.items()}, types, signature)

    def encode(answer: InferAnswer) -> HttpContent:
        return _write({alias: answer.outputs[alias] for alias in sorted(answer.outputs)}, given.is_row)

    return Question(given.arrays, encode, may_be_empty=True)


def _asked(route: Route) -> tuple[str, str | None]:
    """Model and version as they are counted."""
    return route.model, None if route.version is None else str(route.version)


def _parse(body: bytes) -> tuple[dict[str, Any], str]:
    """The document, and the signature that it names."""
    with _in_our_errors():
        document: dict[str, Any] = values.parse_json(body, _EXACT_BYTES)
        return document, predict.decode_signature_name(document)


@contextmanager
def _in_our_errors() -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        kind = Unsupported if refusal.kind is Kind.UNIMPLEMENTED else InvalidRequest
        raise kind(refusal.message) from refusal


def _target(request: Request) -> str:
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _document(told: dict[str, Any]) -> bytes:
    return json.dumps(told, indent=4).encode() + b"\n"
