"""POST /models/{model}/classify: picture files in, labels out. Sizes, polarity and labels come from the manifest."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import orjson
from fastapi import APIRouter
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.errors import InvalidRequest, ServingError
from gateway.core.messages import InferAnswer
from gateway.core.published import ImageRecipe
from gateway.core.router import VersionRoute
from gateway.core.tensors import Tensor
from gateway.protocols.call import Question
from gateway.protocols.exchange import Exchange, HttpContent
from gateway.protocols.express import InferenceRoutes
from gateway.protocols.oip import encode_error
from gateway.protocols.pictures import decode_pictures

FIELD = "image"
MOST_PICTURES = 256
_INVERT = ("auto", "yes", "no")


class PictureInputs:
    """Turns picture files into a version's input, for every dialect that takes them."""

    def __init__(self, limit_pixels: int) -> None:
        self._limit_pixels = limit_pixels
        self._turn = asyncio.Lock()

    async def decode(
        self, files: list[bytes], invert: str, route: VersionRoute
    ) -> tuple[dict[str, Tensor], ImageRecipe]:
        """The input by name, and what the manifest says of pictures. Raises InvalidRequest, NotAnImage, TooLarge."""
        recipe = route.image
        if recipe is None:
            raise InvalidRequest("the model takes no pictures: its manifest has no image block")
        # Pillow holds a core for milliseconds; the event loop has other requests to serve.
        # One request at a time, or their pictures together would fill the memory that one may use.
        async with self._turn:
            rows = await asyncio.to_thread(decode_pictures, files, recipe, invert, self._limit_pixels)
        return {recipe.input: rows.astype(route.signature.input(recipe.input).dtype, copy=False)}, recipe


class ClassifyCodec:
    """Picture bodies: one file as the raw body, or several as multipart fields named `image`."""

    protocol = "classify"

    def __init__(self, pictures: PictureInputs) -> None:
        self._pictures = pictures

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question[HttpContent]:
        """See gateway.protocols.exchange.Codec."""
        if "version" in request.query_params:
            raise InvalidRequest(
                "version: pictures are classified here by the live version; ask one of your choice by POST "
                "/predictions/{model}/{version}, or with tensors by POST /v2/models/{model}/versions/{version}/infer"
            )
        invert = request.query_params.get("invert", "auto")
        if invert not in _INVERT:
            raise InvalidRequest(f"invert: expected one of {', '.join(_INVERT)}, got {invert[:40]!r}")
        files = await split_files(body, request, (FIELD,))
        inputs, recipe = await self._pictures.decode(files, invert, route)
        return Question(inputs, encode=lambda answer: encode_answer(answer, recipe), outputs=(recipe.output,))

    def encode_error(self, error: ServingError) -> bytes:
        """See gateway.protocols.exchange.Dialect."""
        return encode_error(error.message)


def encode_answer(answer: InferAnswer, recipe: ImageRecipe) -> HttpContent:
    """Encode logits [N, labels] as the most probable label, its probability, and all probabilities in label order."""
    scores = score_labels(answer, recipe)
    document = {
        "model": answer.model,
        "version": answer.version,
        "engine": answer.engine,
        "predictions": [
            {"label": recipe.labels[best], "score": row[best], "scores": row}
            for best, row in zip(scores.argmax(axis=1).tolist(), scores, strict=True)
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), {"Content-Type": "application/json"}


def score_labels(answer: InferAnswer, recipe: ImageRecipe) -> Tensor:
    """The probabilities [N, labels] in label order. Raises InvalidRequest when the logits are not finite."""
    logits = answer.outputs[recipe.output]
    if not np.isfinite(logits).all():
        raise InvalidRequest(f"the logits that {answer.engine} gives for these pictures are not finite")
    return _softmax(logits)


def make_router(exchange: Exchange, pictures: PictureInputs, express: InferenceRoutes) -> APIRouter:
    """The route; it is told to `express` too."""
    routes = APIRouter(tags=["Pictures"])
    codec = ClassifyCodec(pictures)

    @routes.post(
        "/models/{model}/classify",
        summary="Classify picture files with the live version",
        openapi_extra={
            "parameters": [{"name": "invert", "in": "query", "schema": {"enum": list(_INVERT), "default": "auto"}}],
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}},
                        }
                    },
                    "image/*": {"schema": {"type": "string", "format": "binary"}},
                },
            },
        },
    )
    async def classify(request: Request, model: str) -> Response:
        return await exchange.run(codec, request, model, None)

    express.add("/models/{model}/classify", codec)
    return routes


def _softmax(logits: Tensor) -> Tensor:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


async def split_files(body: bytes, request: Request, fields: tuple[str, ...]) -> list[bytes]:
    """The files in multipart fields of these names, in their order; else the body alone. Raises InvalidRequest."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        return [body]
    parser = MultiPartParser(
        request.headers, _one_chunk(body), max_files=MOST_PICTURES, max_fields=MOST_PICTURES, max_part_size=len(body)
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidRequest(f"malformed multipart body: {getattr(error, 'message', error)}") from error
    try:
        parts = [part for name, part in form.multi_items() if name in fields]
        files = [await part.read() for part in parts if isinstance(part, UploadFile)]
        if not files:
            wanted = " or ".join(map(repr, fields))
            raise InvalidRequest(f"expected a file in multipart field {wanted}, got fields {sorted(set(form.keys()))}")
        return files
    finally:
        await form.close()


async def _one_chunk(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
