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

from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.published import ImageRecipe
from gateway.core.router import VersionRoute
from gateway.core.tensors import DTYPES, Tensor
from gateway.protocols.exchange import Exchange, Question
from gateway.protocols.pictures import decode_pictures

FIELD = "image"
MOST_PICTURES = 256
_INVERT = ("auto", "yes", "no")


class ClassifyCodec:
    """Picture bodies: one file as the raw body, or several as multipart fields named `image`."""

    protocol = "classify"

    def __init__(self, limit_pixels: int) -> None:
        self._limit_pixels = limit_pixels
        self._turn = asyncio.Lock()

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question:
        """See gateway.protocols.exchange.Codec."""
        recipe = route.image
        if recipe is None:
            raise InvalidRequest("the model takes no pictures: its manifest has no image block")
        invert = request.query_params.get("invert", "auto")
        if invert not in _INVERT:
            raise InvalidRequest(f"invert: expected one of {', '.join(_INVERT)}, got {invert[:40]!r}")
        files = await _split_files(body, request)
        # Pillow holds a core for milliseconds; the event loop has other requests to serve.
        # One request at a time, or their pictures together would fill the memory that one may use.
        async with self._turn:
            rows = await asyncio.to_thread(decode_pictures, files, recipe, invert, self._limit_pixels)
        tensor = rows.astype(DTYPES[route.signature.input(recipe.input).datatype], copy=False)
        return Question(
            inputs={recipe.input: tensor},
            encode=lambda answer: encode_answer(answer, recipe),
            outputs=(recipe.output,),
        )


def encode_answer(answer: InferAnswer, recipe: ImageRecipe) -> tuple[bytes, dict[str, str]]:
    """Encode logits [N, labels] as the most probable label, its probability, and all probabilities in label order."""
    logits = answer.outputs[recipe.output]
    if not np.isfinite(logits).all():
        raise InvalidRequest(f"the logits that {answer.engine} gives for these pictures are not finite")
    scores = _softmax(logits)
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


def make_router(exchange: Exchange, limit_pixels: int) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["Pictures"])
    codec = ClassifyCodec(limit_pixels)

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

    return routes


def _softmax(logits: Tensor) -> Tensor:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


async def _split_files(body: bytes, request: Request) -> list[bytes]:
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
        files = [await part.read() for part in form.getlist(FIELD) if isinstance(part, UploadFile)]
        if not files:
            raise InvalidRequest(f"expected a file in multipart field {FIELD!r}, got fields {sorted(set(form.keys()))}")
        return files
    finally:
        await form.close()


async def _one_chunk(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
