"""The embedded TF server through plain HTTP: predict by rows and by columns, bodies of all kinds, routes, headers."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.embedded_server import WAIT_S, Engine, calc_model, model_list, pinned, running_engine, sample_models

pytestmark = pytest.mark.engines

HALF = "half_plus_two:predict"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A server of every sample and of calc; REST gives up after half a second and sends CORS headers."""
    samples = sample_models(tmp_path_factory)
    entries = [pinned(path, 1, name=path.name) for path in samples.iterdir()]
    config = model_list(*entries, pinned(calc_model(tmp_path_factory), 1))
    flags = ("--rest_api_timeout_in_ms=500", "--rest_api_enable_cors_support")
    with running_engine(tmp_path_factory.mktemp("run"), config, *flags) as engine:
        yield engine


@pytest.mark.parametrize(
    ("target", "body", "answer"),
    [
        (HALF, {"instances": [[1.0], [2]]}, {"predictions": [[2.5], [3.0]]}),
        (HALF, {"instances": [{"x": [1]}]}, {"predictions": [[2.5]]}),
        (HALF, {"inputs": [[1]]}, {"outputs": [[2.5]]}),
        (HALF, {"inputs": {"x": [[1]], "ignored": None}}, {"outputs": [[2.5]]}),
        ("sums:predict", {"instances": [{"a": [1, 2], "b": [3, 4]}]}, None),
        ("sums:predict", {"signature_name": "count", "inputs": [[1, 2]] * 3}, {"outputs": 3}),
        ("sums/versions/1:predict", {"inputs": {"a": [], "b": []}}, 'Input "a" expects shape [-1,2], received [0]'),
        (
            "words:predict",
            {"instances": ["ab", {"b64": "w6k"}]},
            {
                "predictions": [
                    {"reversed_bytes": {"b64": "YmE="}, "upper": "AB"},
                    {"reversed_bytes": {"b64": "qcM="}, "upper": "é"},
                ]
            },
        ),
        (
            "words:predict",
            {"inputs": {"text": [{"b64": "YQ=="}]}},
            {"outputs": {"reversed_bytes": [{"b64": "YQ=="}], "upper": ["A"]}},
        ),
        ("calc:predict", {"signature_name": "echo_bool", "inputs": [True, False]}, {"outputs": [True, False]}),
        ("calc:predict", {"signature_name": "echo_int8", "inputs": 300}, {"outputs": 44}),
        ("calc:predict", {"signature_name": "echo_uint64", "inputs": 2**64 - 1}, {"outputs": 2**64 - 1}),
        ("calc:predict", {"signature_name": "echo_float64", "inputs": [0.1, 1e300]}, {"outputs": [0.1, 1e300]}),
        ("calc:predict", {"signature_name": "echo_float32", "inputs": 1e39}, {"outputs": float("inf")}),
    ],
)
def test_predict(engine: Engine, target: str, body: Any, answer: Any) -> None:
    status, told = engine.post(target, body)
    if isinstance(answer, str):
        assert (status, told) == (400, {"error": answer})
    else:
        expected = answer or {"predictions": [{"difference": [-2.0, -2.0], "sum": [4.0, 6.0]}]}
        assert (status, told) == (200, expected)


def test_a_stateful_model_keeps_its_state(engine: Engine) -> None:
    before = engine.post("counter:predict", {"inputs": 0})[1]["outputs"]
    assert engine.post("counter:predict", {"inputs": 3}) == (200, {"outputs": before + 3})
    assert engine.post("counter:predict", {"inputs": 4}) == (200, {"outputs": before + 7})


@pytest.mark.parametrize(
    ("model", "body", "status", "message"),
    [
        ("nope", b"{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("nope", b"[]", 400, "JSON Value: [] Is not object"),
        ("nope", b'{"signature_name": 1}', 400, "'signature_name' key must be a string value."),
        ("nope", b"{}", 404, "Servable not found for request: Latest(nope)"),
        ("sums/versions/9", b"{}", 404, "Servable not found for request: Specific(sums, 9)"),
        ("sums/labels/x", b"{}", 400, "Unrecognized servable version label: x"),
        ("sums", b'{"signature_name": "x"}', 400, 'Serving signature name: "x" not found in signature def'),
        ("sums", b"{}", 400, "Missing 'inputs' or 'instances' key"),
        ("calc", b'{"signature_name": "echo_float16", "inputs": 1}', 501, "Conversion of JSON Value: 1 to type: half"),
        ("sums", b'{"signature_name": "count", "instances": [[1, 2]]}', 400, "Tensor name: rows has no shape"),
        ("calc", b'{"signature_name": "slow", "inputs": 2147483647}', 504, "Timed out waiting for notification"),
        ("sums", b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "instances is a plain list"),
        ("half_plus_two", b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "A list of 100000 levels"),
        ("half_plus_two", b"{" * 100_000, 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
    ],
)
def test_the_first_fault_is_the_one_told(engine: Engine, model: str, body: bytes, status: int, message: str) -> None:
    code, told = engine.post(f"{model}:predict", body)
    assert code == status, told
    assert list(told) == ["error"]
    assert message in told["error"]


def test_json_is_read_as_the_original_reads_it(engine: Engine) -> None:
    assert engine.post(HALF, b'\xef\xbb\xbf{"inputs": [[1]], "inputs": 5} and more {')[1] == {"outputs": [[2.5]]}
    status, _, body = engine.get(f"/v1/models/{HALF}", "POST", b'{"inputs": [[NaN], [Inf], [-Infinity]]}')
    assert (status, b"".join(body.split())) == (200, b'{"outputs":[[NaN],[Infinity],[-Infinity]]}')


def test_bodies_may_be_compressed_or_in_pieces(engine: Engine) -> None:
    body = json.dumps({"inputs": [[1]]}).encode()
    assert engine.post(HALF, gzip.compress(body), content_encoding="gzip") == (200, {"outputs": [[2.5]]})
    empty = (400, {"error": "JSON Parse error: The document is empty"})
    assert engine.post(HALF, b"not gzip", content_encoding="gzip") == empty
    assert engine.post(HALF, gzip.compress(bytes(200_000_000)), content_encoding="gzip") == empty
    connection = http.client.HTTPConnection("127.0.0.1", engine.rest_port, timeout=WAIT_S)
    connection.request(
        "POST",
        f"/v1/models/{HALF}",
        iter([body[:5], body[5:]]),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    assert connection.getresponse().status == 200
    connection.close()
    with socket.create_connection(("127.0.0.1", engine.rest_port), timeout=WAIT_S) as wire:
        head = (
            f"POST /v1/models/{HALF} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        wire.sendall(head.encode())
        assert wire.recv(1000).startswith(b"HTTP/1.1 100")
        wire.sendall(body)
        assert wire.recv(1000).startswith(b"HTTP/1.1 200")


def test_cors_headers_come_with_errors_too(engine: Engine) -> None:
    for target in ("sums", "nope"):
        connection = http.client.HTTPConnection("127.0.0.1", engine.rest_port, timeout=WAIT_S)
        connection.request("GET", f"/v1/models/{target}")
        headers = connection.getresponse().headers
        connection.close()
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Methods"] == "POST, GET"
        assert headers["Access-Control-Allow-Headers"] == "Content-Type"


def test_rest_status_and_errors(engine: Engine) -> None:
    status, kind, body = engine.get("/v1/models/calc/versions/1")
    assert (status, kind) == (200, "application/json")
    ok = {"error_code": "OK", "error_message": ""}
    assert json.loads(body) == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]}
    for method, target, code, message in [
        ("GET", "/v1/models/calc?x=1", 404, "Could not find any versions of model calc?x=1"),
        ("GET", "/v1/models/calc/versions/9", 404, "Could not find version 9 of model calc"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/calc/", 400, "Malformed request: GET /v1/models/calc/"),
        ("PUT", "/v1/models/calc", 400, "Malformed request: PUT /v1/models/calc"),
        ("POST", "/v1/models/calc:predict?x=1", 400, "Malformed request: POST /v1/models/calc:predict?x=1"),
    ]:
        status, kind, body = engine.get(target, method)
        assert (status, kind, json.loads(body)) == (code, "application/json", {"error": message})
    assert engine.get("/elsewhere")[:2] == (404, "text/html")
    assert engine.get("/v1/models/calc", "OPTIONS", Origin="http://a")[::2] == (200, b"")
    assert engine.get("/v1/models/calc", "OPTIONS")[::2] == (400, b"")
