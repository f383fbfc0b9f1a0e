"""TensorFlow Serving's REST dialect on the gateway: what tests/rest_cases.py expects, labels, statuses."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.router import Canary, ModelRoute, Router, RoutingTable, VersionRoute
from gateway.core.tensors import Signature, TensorSpec
from gateway.protocols import tfserving_rules as rules
from gateway.protocols.tfserving_rest import decode_predict
from tests.rest_cases import ANSWERED, CASES, RestCase
from tests.unit.gateway.adder import ADDER
from tests.unit.gateway.served import Served, serving

ROW = [1.0, 2.0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("rest")) as served:
        yield served


def send(served: Served, case: RestCase) -> Any:
    body = case.body
    if isinstance(body, bytes):
        content = body.replace(b"ROW", json.dumps([ROW]).encode())
    else:
        content = b"" if body is None else json.dumps(body("a", ROW)).encode()
    target = case.target.replace("{model}", "adder")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d says, and nobody looks at
    return served.client.request(case.method, target, content=content, headers=headers)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_case_table(shared: Served, case: RestCase) -> None:
    response = send(shared, case)
    assert response.status_code == case.status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    if case.said:
        assert list(document) == ["error"]
        assert document["error"].startswith(case.said.replace("NAME", "a"))
    elif case in ANSWERED:
        [(key, rows)] = document.items()
        assert key in ("predictions", "outputs")
        assert all(row == [2.0, 4.0] for row in rows)
        assert response.headers["X-Engine"] in ("torchserve", "tfserving")


def test_the_engine_can_be_named_and_is_told(shared: Served) -> None:
    response = shared.client.post(
        "/v1/models/adder/versions/1:predict", json={"inputs": [ROW]}, headers={"X-Engine": "tfserving"}
    )
    assert (response.headers["X-Engine"], response.headers["X-Model-Version"]) == ("tfserving", "1")
    refused = shared.client.post("/v1/models/adder:predict", json={"inputs": [ROW]}, headers={"X-Engine": "x"})
    assert (refused.status_code, list(refused.json())) == (400, ["error"])


def test_status_and_metadata(shared: Served) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert shared.client.get("/v1/models/adder/labels/whatever").json() == {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": ok},
            {"version": "1", "state": "AVAILABLE", "status": ok},
        ]
    }
    told = shared.client.get("/v1/models/adder/labels/live/metadata").json()
    assert told["model_spec"] == {"name": "adder", "signature_name": "", "version": "2"}
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["a"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["a"]["tensor_shape"]["dim"]] == ["-1", "2"]
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(("origin", "status"), [({"Origin": "http://a"}, 200), ({}, 400)])
def test_options(shared: Served, origin: dict[str, str], status: int) -> None:
    response = shared.client.options("/v1/models/adder", headers=origin)
    assert (response.status_code, response.content) == (status, b"")


@pytest.mark.parametrize("label", ["live", "stable"])
def test_labels_of_the_live_version(shared: Served, label: str) -> None:
    response = shared.client.post(f"/v1/models/adder/labels/{label}:predict", json={"inputs": [ROW]})
    assert response.headers["X-Model-Version"] == "2"


@pytest.mark.parametrize(("share", "version"), [(0.5, 3), (0.0, None)])
def test_canary_is_a_label_while_one_takes_traffic(share: float, version: int | None) -> None:
    router = Router(("tfserving",))
    versions = {number: VersionRoute(number, ADDER, None, {}) for number in (2, 3)}
    router.assign(
        RoutingTable(("tfserving",), {"adder": ModelRoute("adder", 2, {}, versions, Canary(3, share, ""))}), 0
    )
    spec = rules.ModelSpec("adder", label="canary")
    if version is not None:
        assert rules.resolve(router, spec) == version
    else:
        with pytest.raises(InvalidRequest, match="Unrecognized servable version label: canary"):
            rules.resolve(router, spec)


def test_no_engine_is_told_in_this_dialect(served: Served) -> None:
    for engine in served.engines.values():
        engine.is_reachable = False
    response = served.client.post("/v1/models/adder:predict", json={"inputs": [ROW]})
    assert (response.status_code, response.headers["Retry-After"], list(response.json())) == (503, "1", ["error"])


def test_no_rows_are_answered_where_the_shape_can_say_so() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
    question = decode_predict({"inputs": []}, "", signature)
    assert (question.inputs["x"].shape, question.may_be_empty) == ((0,), True)


@pytest.mark.parametrize(
    ("datatype", "value", "element"),
    [("INT8", 300, np.int8(44)), ("UINT64", 2**64 - 1, np.uint64(2**64 - 1)), ("BOOL", True, np.True_)],
)
def test_elements_of_other_types(datatype: str, value: Any, element: Any) -> None:
    signature = Signature((TensorSpec("x", datatype, (-1,)),), ())
    tensor = decode_predict({"instances": [value]}, "", signature).inputs["x"]
    assert (tensor.dtype, tensor.tolist()) == (element.dtype, [element])
