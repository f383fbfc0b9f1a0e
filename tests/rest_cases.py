"""TensorFlow Serving's REST dialect as one table, for whatever speaks it: the gateway on fake engines, or real ones.

Each case is for a model of one input, `name`, whose row is `row`; `{model}` in a target and `NAME` in a message stand
for what the model has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = Callable[[str, Any], Any]


@dataclass(frozen=True)
class RestCase:
    """A request, the status of its answer, and what the message begins with ("" where it is answered)."""

    label: str
    target: str
    body: Body | bytes | None
    status: int = 200
    said: str = ""
    method: str = "POST"

    def __str__(self) -> str:
        return self.label


PREDICT = "/v1/models/{model}:predict"
STATUS = "/v1/models/{model}"
OF = "of 'instances' list."
BAD = "Error: INVALID_ARGUMENT:"


def _told(status: int, label: str, body: Body | bytes | None, said: str, target: str = PREDICT) -> RestCase:
    return RestCase(label, target, body, status, said)


def _got(status: int, label: str, target: str, said: str = "", method: str = "GET") -> RestCase:
    return RestCase(label, target, None, status, said, method)


ANSWERED = [
    RestCase("rows", PREDICT, lambda name, row: {"instances": [row, row]}),
    RestCase("named rows", PREDICT, lambda name, row: {"instances": [{name: row}]}),
    RestCase("a column", PREDICT, lambda name, row: {"inputs": [row, row, row]}),
    RestCase("a named column", PREDICT, lambda name, row: {"inputs": {name: [row]}, "signature_name": ""}),
    RestCase("more keys in a column", PREDICT, lambda name, row: {"inputs": {name: [row], "other": None}}),
    RestCase("the signature named", PREDICT, lambda name, row: {"inputs": [row], "signature_name": "serving_default"}),
    RestCase("a version", "/v1/models/{model}/versions/1:predict", lambda name, row: {"inputs": [row]}),
    RestCase("any case", "/V1/Models/{model}/Versions/001:predict", lambda name, row: {"inputs": [row]}),
    RestCase("bytes after the document", PREDICT, b'{"instances": ROW} and more {'),
    RestCase("more rows than a batch has", PREDICT, lambda name, row: {"inputs": [row] * 150}),
]

REFUSED = [
    _told(400, "nothing", b"", "JSON Parse error: The document is empty"),
    _told(400, "no JSON", b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
    _told(400, "a list", b"[]", "JSON Value: [] Is not object"),
    _told(400, "a signature that is no name", b'{"signature_name": 1}', 'JSON Value: {\n    "signature_name": 1\n}'),
    _told(400, "another signature", b'{"signature_name": "x"}', 'Serving signature name: "x" not found in signature'),
    _told(400, "neither key", b"{}", "Missing 'inputs' or 'instances' key"),
    _told(400, "both keys", b'{"inputs": 1, "instances": 2}', "JSON Value: {"),
    _told(400, "instances that are none", b'{"instances": {}}', 'JSON Value: {\n    "instances": {}\n} Expecting'),
    _told(400, "no instances", b'{"instances": []}', 'JSON Value: {\n    "instances": []\n} No values'),
    _told(400, "an unknown name", b'{"instances": [{"y": 1}]}', f"Failed to process element: 0 key: y {OF} {BAD} JSON"),
    _told(400, "a nameless row", b'{"instances": [{}]}', f"Failed to process element: 0 {OF} JSON object: {{}}"),
    _told(400, "a column without the name", b'{"inputs": {}}', "Missing named input: NAME in 'inputs' object."),
    _told(400, "an object after a list", b'{"instances": [[1], {"a": 1}]}', "Expecting value/list but got object at"),
    _told(400, "a word", b'{"inputs": ["a"]}', 'JSON Value: "a" Type: String is not of expected type: float'),
    _told(400, "null", b'{"inputs": [null]}', "JSON Value: null Type: Null is not of expected type: float"),
    _told(400, "true", b'{"inputs": true}', "JSON Value: true Type: True is not of expected type: float"),
    _told(400, "bytes", b'{"inputs": {"b64": "aGk="}}', "JSON Value: {"),
    _told(400, "rows that differ", b'{"instances": [[1], [1, 2]]}', f"Failed to process element: 1 {OF} {BAD} Expecti"),
    _told(400, "a ragged list", b'{"inputs": [[1, 2], [3]]}', "Encountered list at unexpected size: 1 at level: 1"),
    _told(400, "another shape", b'{"inputs": [[1, 2, 3]]}', 'Input "NAME" expects shape [-1,'),
    _told(400, "no rows", b'{"inputs": []}', 'Input "NAME" expects shape [-1,'),
    _told(400, "very deep", b'{"inputs": ' + b"[" * 2000 + b"1]", "JSON Parse error: Missing a comma or ']'"),
    _told(404, "another model", b"{}", "Servable not found for request: Latest(no-such)", "/v1/models/no-such:predict"),
    _told(400, "no JSON for another model", b"[", "JSON Parse error:", "/v1/models/no-such:predict"),
    _told(
        *(404, "another version", b"{}", "Servable not found for request: Specific("),
        "/v1/models/{model}/versions/99:predict",
    ),
    _told(
        *(400, "another label", b"{}", "Unrecognized servable version label: x"),
        "/v1/models/{model}/labels/x:predict",
    ),
    _told(400, "another verb", b"{}", "Malformed request: POST /v1/models/", "/v1/models/{model}:guess"),
    _told(400, "a query", b"{}", "Malformed request: POST /v1/models/", PREDICT + "?x=1"),
    _told(400, "classify", b'{"examples": [{"x": 1}]}', "No classification inputs found", STATUS + ":classify"),
    _told(400, "regress", b'{"examples": [{"x": 1}]}', "No regression inputs found", STATUS + ":regress"),
    _told(
        *(400, "classify by another signature", b'{"examples": [{}], "signature_name": "x"}'),
        *("No signature was found with the name: x", STATUS + ":classify"),
    ),
]

DESCRIBED = [
    _got(200, "versions", STATUS),
    _got(200, "a version", STATUS + "/versions/1"),
    _got(200, "metadata", STATUS + "/metadata"),
    _got(200, "metadata of a version", STATUS + "/versions/1/metadata"),
    _got(404, "an unknown model", "/v1/models/no-such", "Could not find any versions of model no-such"),
    _got(404, "an unknown version", STATUS + "/versions/99", "Could not find version 99 of model"),
    _got(404, "metadata of nothing", "/v1/models/no-such/metadata", "Servable not found for request: Latest(no-such)"),
    _got(404, "a query", STATUS + "?x=1", "Could not find any versions of model"),
    _got(400, "no model", "/v1/models", "Missing model name in request."),
    _got(400, "a slash too many", STATUS + "/", "Malformed request: GET /v1/models/"),
    _got(400, "no version", STATUS + "/versions/abc", "Malformed request: GET /v1/models/"),
    _got(400, "PUT", STATUS, "Malformed request: PUT /v1/models/", "PUT"),
    _got(400, "DELETE", STATUS, "Malformed request: DELETE /v1/models/", "DELETE"),
]

CASES = [*ANSWERED, *REFUSED, *DESCRIBED]
