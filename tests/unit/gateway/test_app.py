"""The whole gateway over HTTP with fake engines: routes, headers, errors, metrics, operators."""

import re
from typing import Any

import pytest
from PIL import Image

from tests.unit.gateway.served import BODY_LIMIT, TOKEN, Served
from tests.unit.gateway.test_pictures import ring, saved


def test_an_answer_says_who_gave_it_and_where_its_time_went(served: Served) -> None:
    response = served.infer([1, 2], headers={"X-Request-Id": "mine", "X-Engine": "tfserving"})
    assert response.status_code == 200
    assert response.json() == {
        "model_name": "adder",
        "model_version": "2",
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
    }
    assert response.headers["X-Request-Id"] == "mine"
    assert response.headers["X-Engine"] == "tfserving"
    assert response.headers["X-Model-Version"] == "2"
    stages = re.findall(r"(\w+);dur=\d+\.\d+", response.headers["Server-Timing"])
    assert stages == ["decode", "queue", "upstream", "encode", "total"]


def test_engine_by_parameter_and_version_by_path(served: Served) -> None:
    response = served.infer(
        [1, 2], path="/v2/models/adder/versions/1/infer", body={"parameters": {"engine": "torchserve"}}
    )
    assert response.headers["X-Engine"] == "torchserve"
    assert response.headers["X-Model-Version"] == "1"


def test_unforced_requests_are_shared_evenly(served: Served) -> None:
    names = [served.infer([1, 2]).headers["X-Engine"] for _ in range(10)]
    assert names.count("torchserve") == names.count("tfserving") == 5


def test_every_answer_has_a_request_id(served: Served) -> None:
    ids = {served.client.get("/nowhere", headers={"X-Request-Id": given}).headers["X-Request-Id"] for given in "ab"}
    assert ids == {"a", "b"}
    spoiled = served.client.get("/v2", headers={"X-Request-Id": "x" * 200}).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", spoiled)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v2/models/nobody/infer", 404, "unknown model 'nobody': expected one of ['adder', 'pictures']"),
        ("/v2/models/adder/versions/9/infer", 404, "unknown version 9 of model 'adder': expected one of [1, 2]"),
        ("/v2/models/adder/versions/latest/infer", 404, "unknown version 'latest' of model 'adder'"),
        ("/v2/models/adder/versions/01/infer", 404, "expected a positive integer"),
        ("/v2/models/nobody/classify", 404, "Not Found: POST /v2/models/nobody/classify"),
        ("/v2/health/live", 405, "Method Not Allowed: POST /v2/health/live"),
    ],
)
def test_wrong_paths(served: Served, path: str, status: int, said: str) -> None:
    response = served.infer([1, 2], path=path)
    assert response.status_code == status
    assert said in response.json()["error"]


@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        ({"X-Engine": "onnx"}, {}, 400, "unknown engine 'onnx'"),
        ({"X-Engine": "tfserving"}, {"parameters": {"engine": "torchserve"}}, 400, "expected one engine"),
        ({}, {"outputs": [{"name": "y"}]}, 400, "unexpected output 'y': expected sum FP32[-1, 2]"),
        ({}, {"parameters": {"timeout": 1}}, 504, "deadline"),
        ({}, {"parameters": {"x": "y" * BODY_LIMIT}}, 413, f"expected a body of at most {BODY_LIMIT} bytes, got "),
        ({"Inference-Header-Content-Length": "99999"}, {}, 400, "Inference-Header-Content-Length: expected at most"),
    ],
)
def test_bad_requests(served: Served, headers: dict[str, str], body: Any, status: int, said: str) -> None:
    response = served.infer([1, 2], headers=headers, body=body)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert response.headers["content-type"] == "application/json"


def test_a_body_without_a_length_is_limited_too(served: Served) -> None:
    chunks = (b"x" * 1000 for _ in range(10))
    response = served.client.post("/v2/models/adder/infer", content=chunks)
    assert response.status_code == 413


def test_what_an_engine_refuses_is_the_clients_fault(served: Served) -> None:
    response = served.infer([13, 2])
    assert response.status_code == 400
    assert "no thirteens" in response.json()["error"]


def test_no_engine(served: Served) -> None:
    for engine in served.engines.values():
        engine.is_reachable = False
    response = served.infer([1, 2])
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    ready = served.client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert served.client.get("/v2/models/adder/ready").status_code == 503
    assert served.client.get("/v2/health/live").json() == {"live": True}


def test_one_engine_down_only_fails_those_who_insist_on_it(served: Served) -> None:
    served.engines["torchserve"].is_reachable = False
    assert {served.infer([1, 2]).headers["X-Engine"] for _ in range(4)} == {"tfserving"}
    insisting = served.infer([1, 2], headers={"X-Engine": "torchserve"})
    assert insisting.status_code == 503
    assert served.client.get("/v2/health/ready").status_code == 200


def test_metadata(served: Served) -> None:
    get = served.client.get
    assert get("/v2").json()["name"] == "twinserve"
    assert get("/v2/models/adder").json() == {
        "name": "adder",
        "versions": ["1", "2"],
        "platform": "twinserve",
        "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert get("/v2/models/adder/versions/1").json()["versions"] == ["1", "2"]
    assert get("/v2/models/adder/versions/1/ready").json() == {"name": "adder", "ready": True}
    assert get("/v2/models/nobody").status_code == 404


def test_a_single_picture_as_the_body(served: Served) -> None:
    black = saved(Image.new("L", (60, 40), 0))
    response = served.client.post("/models/pictures/classify?invert=no", content=black)
    assert response.status_code == 200
    document = response.json()
    assert (document["model"], document["version"]) == ("pictures", 1)
    assert document["engine"] == response.headers["X-Engine"]
    [prediction] = document["predictions"]
    assert prediction["label"] == "dark"
    assert prediction["score"] == max(prediction["scores"])
    assert sum(prediction["scores"]) == pytest.approx(1)


def test_several_pictures_in_one_form(served: Served) -> None:
    black, white = (saved(Image.new("L", (30, 30), level)) for level in (0, 255))
    files = [("image", ("a.png", black)), ("image", ("b.png", white))]
    response = served.client.post("/models/pictures/classify?invert=no", files=files)
    assert [p["label"] for p in response.json()["predictions"]] == ["dark", "light"]
    inverted = served.client.post("/models/pictures/classify?invert=yes", files=files)
    assert [p["label"] for p in inverted.json()["predictions"]] == ["light", "dark"]


@pytest.mark.parametrize(
    ("model", "options", "status", "said"),
    [
        ("pictures", {"content": b"GIF89a"}, 415, "expected a picture (PNG, JPEG, BMP, WEBP)"),
        ("pictures", {"content": b""}, 415, "got no bytes"),
        (
            "pictures",
            {"files": {"photo": b"x"}},
            400,
            "expected a file in multipart field 'image', got fields ['photo']",
        ),
        (
            "pictures",
            {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
            400,
            "malformed multipart body",
        ),
        (
            "pictures",
            {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "malformed multipart body",
        ),
        ("pictures", {"content": saved(ring()), "params": {"invert": "maybe"}}, 400, "expected one of auto, yes, no"),
        (
            "pictures",
            {"content": saved(ring()), "params": {"version": "1"}},
            400,
            "ask one of your choice by POST /predictions/{model}/{version}",
        ),
        (
            "pictures",
            {"files": [("image", saved(ring())), ("image", b"GIF89a")]},
            415,
            "picture 2 of 2: expected a picture (PNG, JPEG, BMP, WEBP), got 6 bytes",
        ),
        ("adder", {"content": saved(ring())}, 400, "the model takes no pictures"),
        ("nobody", {"content": saved(ring())}, 404, "unknown model 'nobody'"),
        ("pictures", {"content": b"x" * (BODY_LIMIT + 1)}, 413, "expected a body of at most"),
    ],
)
def test_bad_pictures(served: Served, model: str, options: Any, status: int, said: str) -> None:
    response = served.client.post(f"/models/{model}/classify", **options)
    assert response.status_code == status, response.text
    assert said in response.json()["error"]


def test_metrics_tell_what_happened(served: Served) -> None:
    for _ in range(3):
        served.infer([1, 2], headers={"X-Engine": "torchserve"})
    served.infer([13, 2], headers={"X-Engine": "torchserve"})
    served.infer([1, 2], path="/v2/models/made-up-by-a-client/infer")
    version = 'model="adder",version="2"'
    answered = 'engine="torchserve",model="adder",outcome="ok",protocol="oip_http",version="2"'
    assert served.metric(f"twinserve_requests_total{{{answered}}}") == 3
    assert served.metric(f"twinserve_ledger_accepted_total{{{version}}}") == 4
    assert served.metric(f"twinserve_ledger_answered_total{{{version}}}") == 3
    assert served.metric(f"twinserve_ledger_failed_total{{{version}}}") == 1
    text = served.client.get("/metrics").text
    samples = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {
        "twinserve_requests_total",
        "twinserve_request_seconds_bucket",
        "twinserve_stage_seconds_bucket",
        "twinserve_batch_rows_bucket",
        "twinserve_rows_total",
        "twinserve_inflight",
        "twinserve_queue_rows",
        "twinserve_engine_up",
        "twinserve_version_state",
    } <= samples
    assert 'outcome="not_found"' in text
    assert "made-up-by-a-client" not in text, "a client must not grow the metrics"


def test_operators_need_the_token(served: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        refused = served.client.get("/admin/models", headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    state = served.client.get("/admin/models", headers=allowed).json()
    assert state["ready"] is True
    assert {engine["engine"]: engine["up"] for engine in state["engines"]} == {"torchserve": True, "tfserving": True}
    adder = served.client.get("/admin/models/adder", headers=allowed).json()
    assert adder["live"] == 2
    assert adder["versions"][0]["engines"]["torchserve"] == {"state": "ready", "reason": ""}
    assert served.client.get("/admin/models/nobody", headers=allowed).status_code == 404


def test_the_documentation_works_offline(served: Served) -> None:
    page = served.client.get("/").text  # it leads to /docs
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/"), f"{link} leaves the machine"
        assert served.client.get(link).status_code == 200
    document = served.client.get("/openapi.json").json()
    paths = document["paths"]
    assert {"/v2/models/{model}/infer", "/models/{model}/classify", "/admin/models/{model}"} <= set(paths)
    told = paths["/v2/models/{model}/infer"]["post"]["responses"]
    assert told["429"]["description"] == "A queue is full; worth trying again in a moment."
    assert "422" not in told
