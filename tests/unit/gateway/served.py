"""A client of a gateway over two fake engines, and the repository it serves: the adder, and a picture model."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from contracts.live import Live, write_live
from gateway.app import GatewayApp, make_app
from gateway.core.errors import EngineRejected
from gateway.core.messages import EngineBatch
from gateway.core.tensors import Tensor
from gateway.engines.fake import FakeEngine
from gateway.settings import Settings
from tests.platform_process import wait_until
from tests.unit.gateway.test_repository import MANIFEST, publish

TOKEN = "operators-only"
BODY_LIMIT = 4096
PICTURES = {
    "signature": {
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 28, 28]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "image": {
        "input": "images",
        "output": "logits",
        "width": 28,
        "height": 28,
        "mode": "L",
        "polarity": "light-on-dark",
        "labels": ["dark", "light"],
    },
}


def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
    """The adder doubles; the picture model says which share of a picture is dark, which is light."""
    if "a" in batch.inputs:
        if 13 in batch.inputs["a"]:
            raise EngineRejected("no thirteens")
        return {"sum": batch.inputs["a"] * 2}
    light = batch.inputs["images"].mean(axis=(1, 2))
    return {"logits": np.stack([1 - light, light], axis=1)}


class Served:
    """A client of a gateway over two fake engines."""

    def __init__(
        self, client: TestClient, engines: Mapping[str, FakeEngine], repository: Path, grpc_target: str
    ) -> None:
        self.client = client
        self.engines = engines
        self.repository = repository
        self.grpc_target = grpc_target

    def infer(self, *rows: list[float], path: str = "/v2/models/adder/infer", **more: Any) -> Any:
        tensor = {"name": "a", "datatype": "FP32", "shape": [len(rows), 2], "data": rows}
        return self.client.post(path, json={"inputs": [tensor], **more.pop("body", {})}, **more)

    def metric(self, sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def make_gateway(folder: Path, **settings: Any) -> tuple[GatewayApp, Mapping[str, FakeEngine]]:
    """The app over two fake engines, not yet running; it serves a repository made in `folder`."""
    paths = publish(folder, 1)
    publish(folder, 2)
    write_live(paths, Live(live=2, previous=1, kept=(1,)))
    pictures = folder / "pictures" / "1"
    pictures.mkdir(parents=True)
    (pictures / "manifest.json").write_text(json.dumps(MANIFEST | PICTURES | {"model": "pictures"}))
    (folder / "pictures" / "live.json").write_text('{"live": 1}')
    engines = {name: FakeEngine(name, answer) for name in ("torchserve", "tfserving")}
    chosen: dict[str, Any] = {
        "admin_token": TOKEN,
        "body_limit_bytes": BODY_LIMIT,
        "grpc_port": 0,
        "probe_interval_s": 0.01,
        "default_timeout_s": 5,
        "patience_s": 0.2,
    }
    app = make_app(Settings(repository=folder, **(chosen | settings)), tuple(engines.values()), stop=lambda: None)
    return app, engines


@contextmanager
def serving(tmp_path: Path) -> Iterator[Served]:
    """Serve a repository made in `tmp_path` while the block runs."""
    app, engines = make_gateway(tmp_path)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/v2/health/ready").status_code == 200, 10, "both engines are ready")
        yield Served(client, engines, tmp_path, app.grpc.port.target)
