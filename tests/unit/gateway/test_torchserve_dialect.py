"""TorchServe's dialect on the gateway: blobs, JSON and pictures in, TorchServe's answers and errors out."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import numpy as blobs

from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.published import ImageRecipe
from gateway.protocols.torchserve import decode_blob, encode_labels
from tests.unit.gateway.served import BODY_LIMIT, Served, serving
from tests.unit.gateway.test_pictures import ring, saved

JSON = {"Content-Type": "application/json"}
ROWS = np.array([[1, 2], [3, 4]], np.float32)
BLACK = saved(Image.new("L", (28, 28), 0))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("torchserve")) as served:
        yield served


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
@pytest.mark.parametrize("path", ["/predictions/adder", "/predictions/adder/1"])
def test_a_blob_is_answered_by_a_blob(shared: Served, method: str, path: str) -> None:
    response = shared.client.request(method, path, content=blobs.save({"a": ROWS}))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/octet-stream")
    np.testing.assert_array_equal(blobs.load(response.content)["sum"], ROWS * 2)
    assert response.headers["X-Model-Version"] == ("1" if path.endswith("1") else "2")


@pytest.mark.parametrize("body", [[[1, 2], [3, 4]], {"a": [[1, 2], [3, 4]]}])
def test_json_is_answered_by_json(shared: Served, body: Any) -> None:
    response = shared.client.post("/predictions/adder", json=body)
    assert (response.json(), response.headers["content-type"]) == ([[2.0, 4.0], [6.0, 8.0]], "application/json")


def test_pictures_are_answered_by_labels_best_first(shared: Served) -> None:
    alone = shared.client.put("/predictions/pictures", content=saved(ring()))
    assert list(alone.json()) == ["dark", "light"]
    assert sum(alone.json().values()) == pytest.approx(1)
    for field in ("data", "body", "image"):
        files = [(field, ("a.png", BLACK)), (field, ("b.png", saved(ring())))]
        together = shared.client.post("/predictions/pictures", files=files).json()
        assert [list(labels) for labels in together] == [["dark", "light"]] * 2
        assert together[1] == alone.json()


def test_only_the_five_best_labels_are_told() -> None:
    recipe = ImageRecipe("x", "y", 1, 1, True, tuple("abcdefg"))
    logits = np.array([[0, 6, 1, 5, 2, 4, 3]], np.float32)
    body, _ = encode_labels(InferAnswer("m", 1, "torchserve", {"y": logits}, 0, 0), recipe, 1)
    assert list(json.loads(body)) == ["b", "d", "f", "g", "e"]


def test_no_rows_are_answered_with_none(shared: Served) -> None:
    response = shared.client.post("/predictions/adder", content=blobs.save({"a": ROWS[:0]}))
    assert blobs.load(response.content)["sum"].shape == (0, 2)
    assert "X-Engine" not in response.headers


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "kind", "said"),
    [
        ("nobody", b"", {}, 404, "ModelNotFoundException", "Model not found: nobody"),
        (
            *("adder/9", b"", {}, 404, "ModelVersionNotFoundException"),
            "Model version: 9 does not exist for model: adder",
        ),
        (
            *("adder/1.0", b"", {}, 404, "ModelVersionNotFoundException"),
            "Model version: 1.0 does not exist for model: adder",
        ),
        ("adder", b"", {}, 400, "BadRequestException", "expected a safetensors blob or JSON, got neither"),
        ("adder", b"x" * 20, {}, 400, "BadRequestException", "expected a safetensors blob or JSON, got neither"),
        ("adder", b"[[1, 2], [3]]", {}, 400, "BadRequestException", "ragged"),
        ("adder", b"[1, 2]", {}, 400, "BadRequestException", "expected lists nested 2 deep, got 1"),
        ("adder", b"[[1, 2, 3]]", {}, 400, "BadRequestException", "expected shape [-1, 2]"),
        ("adder", b'{"b": [[1, 2]]}', {}, 400, "BadRequestException", "unexpected input 'b'"),
        ("adder", b"{}", {}, 400, "BadRequestException", "missing input"),
        ("adder", b'{"a": [[1, 2]], "a": [[1, 2]]}', {}, 400, "BadRequestException", "stands twice"),
        ("adder", b'[["1", 2]]', {}, 400, "BadRequestException", "Expected `float`, got `str`"),
        ("adder", b"nonsense", JSON, 400, "BadRequestException", "malformed JSON"),
        ("adder", b"[" * 3000, {}, 400, "BadRequestException", "malformed JSON"),
        ("adder", b"\xff\xff\xff\xff\xff\xff\xff\xff{}", {}, 400, "BadRequestException", "not a safetensors blob"),
        ("adder", blobs.save({"a": ROWS})[:-1], {}, 400, "BadRequestException", "not a safetensors blob"),
        ("adder", blobs.save({"b": ROWS}), {}, 400, "BadRequestException", "unexpected input 'b'"),
        ("adder", blobs.save({"a": ROWS.astype(np.float64)}), {}, 400, "BadRequestException", "expected datatype FP32"),
        ("adder", blobs.save({"a": ROWS.ravel()}), {}, 400, "BadRequestException", "expected shape [-1, 2]"),
        ("adder", b'\x30\0\0\0\0\0\0\0{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}   \0\0', {}, 400, "", ""),
        ("pictures", b"GIF89a..........", {}, 415, "BadRequestException", "expected a picture"),
        ("adder", b"[[13, 2]]", {}, 400, "BadRequestException", "no thirteens"),
        ("adder", b"x" * (BODY_LIMIT + 1), {}, 413, "BadRequestException", "expected a body of at most"),
        ("adder", b"[[1, 2]]", {"X-Engine": "onnx"}, 400, "BadRequestException", "unknown engine 'onnx'"),
        ("adder", b"--b--", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "BadRequestException", "field"),
    ],
)
def test_errors_look_like_torchserves(
    shared: Served, path: str, content: bytes, headers: dict[str, str], status: int, kind: str, said: str
) -> None:
    response = shared.client.post(f"/predictions/{path}", content=content, headers=headers)
    document = response.json()
    assert (response.status_code, set(document)) == (status, {"code", "type", "message"})
    assert document["code"] == status
    assert kind in document["type"]
    assert said in document["message"]


def test_no_engine_and_ping(served: Served) -> None:
    healthy = served.client.get("/ping")
    assert (healthy.status_code, healthy.json()) == (200, {"status": "Healthy"})
    for engine in served.engines.values():
        engine.is_reachable = False
    response = served.client.post("/predictions/adder", json=[[1, 2]])
    assert (response.status_code, response.json()["type"]) == (503, "ServiceUnavailableException")
    unhealthy = served.client.get("/ping")
    assert (unhealthy.status_code, unhealthy.json()) == (500, {"status": "Unhealthy"})


def test_inputs_of_no_rows_do_not_make_an_unknown_engine_known(shared: Served) -> None:
    empty = blobs.save({"a": ROWS[:0]})
    response = shared.client.post("/predictions/adder", content=empty, headers={"X-Engine": "evil"})
    assert response.status_code == 400
    assert "unknown engine 'evil'" in response.json()["message"]
    assert 'engine="evil"' not in shared.client.get("/metrics").text


def test_a_blob_whose_header_begins_like_json_is_a_blob(shared: Served) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'.ljust(ord("{"))
    body = len(header).to_bytes(8, "little") + header + ROWS[:1].tobytes()
    assert body.startswith(b"{")
    response = shared.client.post("/predictions/adder", content=body)
    np.testing.assert_array_equal(blobs.load(response.content)["sum"], ROWS[:1] * 2)


def test_a_header_of_very_many_tensors_is_refused_before_it_is_read() -> None:
    body = blobs.save({f"tensor{index}": ROWS[:0] for index in range(1200)})
    with pytest.raises(InvalidRequest, match="at most 65536 bytes"):
        decode_blob(body)


def test_many_unknown_names_are_refused_by_the_first(shared: Served) -> None:
    response = shared.client.post("/predictions/adder", json={f"{index:06}": 1 for index in range(300)})
    assert response.status_code == 400
    assert "000000" in response.json()["message"]
