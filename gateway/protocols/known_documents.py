"""The JSON of binary inference requests, decoded once: a client sends the same before the data of every tensor.

Rules: what is remembered is only where tensors lie behind a document that was decoded and checked; a body of any other
length, or for another signature, is decoded like the first. Must not know what else a document asks for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.core.tensors import Signature
from gateway.protocols import oip
from gateway.protocols.oip import Asked, Decoded

_LONGEST_BYTES = 1024
_MOST = 256


@dataclass(frozen=True, slots=True)
class _Layout:
    """What follows a document. `places` are name, dtype, shape, number of elements and offset of each tensor."""

    signature: Signature
    asked: Asked
    body_bytes: int
    places: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]

    def describes(self, body: bytes, signature: Signature) -> bool:
        return len(body) == self.body_bytes and (self.signature is signature or self.signature == signature)


class KnownDocuments:
    """Decodes inference requests, and remembers the documents of those that are binary. The oldest are forgotten."""

    def __init__(self) -> None:
        self._layouts: dict[bytes, _Layout] = {}

    def decode(self, body: bytes, header_length: str | None, signature: Signature) -> Decoded:
        """As gateway.protocols.oip.decode_request."""
        if header_length is None or header_length == "0" or not header_length.isdecimal() or len(header_length) > 4:
            return oip.decode_request(body, header_length, signature)
        document = body[: int(header_length)]
        layout = self._layouts.get(document)
        if layout is not None and layout.describes(body, signature):
            inputs = {
                name: np.frombuffer(body, dtype, count, offset).reshape(shape)
                for name, dtype, shape, count, offset in layout.places
            }
            return Decoded(inputs, layout.asked)
        decoded = oip.decode_request(body, header_length, signature)
        self._learn(document, body, decoded, signature)
        return decoded

    def _learn(self, document: bytes, body: bytes, decoded: Decoded, signature: Signature) -> None:
        """Only where every tensor lies in the data as it is, with nothing in it to be checked; an id comes once."""
        tensors = decoded.inputs.values()
        is_plain = all(tensor.size and not tensor.dtype.hasobject and tensor.dtype != np.bool_ for tensor in tensors)
        is_all = len(document) + sum(tensor.nbytes for tensor in tensors) == len(body)
        if not (is_plain and is_all) or decoded.asked.id is not None or len(document) > _LONGEST_BYTES:
            return
        places = []
        offset = len(document)
        for name, tensor in decoded.inputs.items():
            places.append((name, tensor.dtype, tensor.shape, tensor.size, offset))
            offset += tensor.nbytes
        if len(self._layouts) >= _MOST:
            del self._layouts[next(iter(self._layouts))]
        self._layouts[document] = _Layout(signature, decoded.asked, len(body), tuple(places))
