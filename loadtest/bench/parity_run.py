"""Asks everything that answers on the GPU for the golden images, before the load."""

import http.client

from loadtest.bench.cases import GATEWAYS, Case, Protocol
from loadtest.bench.children import LOOPBACK
from loadtest.bench.dialects import HEADER_LENGTH, Floats
from loadtest.bench.endpoints import HttpEndpoint
from loadtest.bench.gpu_cases import RAW_KINDS
from loadtest.bench.meter import GeneratorFailed, Known
from loadtest.bench.parity import FP16_LIMIT, FP32_LIMIT, Parity, compare_logits
from loadtest.bench.stage import Stage
from loadtest.bench.targets import RawForward

_TIMEOUT_S = 120.0


def measure_parity(stage: Stage, known: Known) -> tuple[Parity, ...]:
    """Both engines through the gateway and torch by itself. Raises GeneratorFailed, NotStarted, OSError, ValueError."""
    found = []
    for case in (*map(Case, GATEWAYS), *(Case(raw, Protocol.FORWARD) for raw in RAW_KINDS)):
        where = stage.where(case)
        kind = RAW_KINDS.get(case.target)
        limit = FP16_LIMIT if kind and kind.is_half else FP32_LIMIT
        place = where.place
        if isinstance(place, RawForward):
            answer = place.answer_golden()
        elif isinstance(place, HttpEndpoint):
            answer = _ask(place, known.images)
        else:
            raise GeneratorFailed(f"{case.target} takes no HTTP, which parity is asked over")
        found.append(compare_logits(str(case.target), limit, known.logits, answer))
    return tuple(found)


def _ask(endpoint: HttpEndpoint, images: Floats) -> Floats:
    asked = endpoint.dialect.encode(images)
    connection = http.client.HTTPConnection(LOOPBACK, endpoint.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", endpoint.path, asked.body, {**asked.headers, **endpoint.headers})
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise GeneratorFailed(f"{endpoint.path} gave no answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise GeneratorFailed(f"{endpoint.path} answered {answer.status}: {body[:200]!r}")
    return endpoint.dialect.decode(body, answer.headers.get(HEADER_LENGTH))
