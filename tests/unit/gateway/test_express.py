"""Inference past FastAPI's routing is what FastAPI's own route would have answered."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gateway.protocols.express import InferenceRoutes
from tests.platform_process import wait_until
from tests.unit.gateway.served import make_gateway

PAST_IT = ("/v2/models/add%2Fer/infer", "/v2/models/adder/infer/", "/v2/models//infer")
"""Paths that are no plain inference, and so are for FastAPI."""
TENSOR = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v2/models/adder/infer", {"json": {"inputs": [TENSOR], "id": "7"}}),
        ("/v2/models/adder/versions/1/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/adder/versions/01/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/nobody/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/add%65r/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/add%2Fer/infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/adder/infer/", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models//infer", {"json": {"inputs": [TENSOR]}}),
        ("/v2/models/adder/infer?x=1", {"content": b"no JSON"}),
        ("/v2/models/adder/infer", {"json": {"inputs": [TENSOR]}, "headers": {"X-Engine": "nobody"}}),
        ("/models/pictures/classify", {"content": b"no picture"}),
        ("/models/pictures/classify?invert=perhaps", {"content": b"no picture"}),
    ],
)
def test_both_ways_give_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, options: dict[str, Any]
) -> None:
    found: list[bool] = []
    find = InferenceRoutes.find

    def watched(routes: InferenceRoutes, path: str) -> Any:
        found.append((route := find(routes, path)) is not None)
        return route

    monkeypatch.setattr(InferenceRoutes, "find", watched)
    app, _ = make_gateway(tmp_path)
    with TestClient(app, raise_server_exceptions=False) as express:
        wait_until(lambda: express.get("/v2/health/ready").status_code == 200, 10, "both engines are ready")
        # Of its own it has no outer edge, which gives X-Request-Id; a lifespan is the app's, and runs already.
        plain = TestClient(app.fastapi, raise_server_exceptions=False)
        headers = {"X-Engine": "torchserve", **options.pop("headers", {})}
        ours, theirs = (
            client.post(path, headers=headers, follow_redirects=False, **options) for client in (express, plain)
        )
    assert found == [path not in PAST_IT], "asked once, on our way alone"
    assert ours.status_code == theirs.status_code
    assert ours.content == theirs.content
    timed = {"server-timing", "x-request-id"}
    assert {k: v for k, v in ours.headers.items() if k not in timed} == {
        k: v for k, v in theirs.headers.items() if k not in timed
    }
