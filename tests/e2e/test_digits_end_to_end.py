"""The main job on real input: the same digits, classified by both engines through the gateway."""

import asyncio
import json
import subprocess
from pathlib import Path

import aiohttp
import numpy as np
import orjson
import psutil
import pytest
import requests
from numpy.typing import NDArray

from contracts.manifest import Manifest
from tests.platform_process import Platform, wait_until
from tests.served_platform import ServedPlatform
from tests.traffic import HEADER_LENGTH, binary_body, infer_binary, send_until
from workers.mnist import Split

pytestmark = pytest.mark.engines

ENGINES = ("torchserve", "tfserving")
Logits = NDArray[np.float32]


def infer_json(url: str, images: NDArray[np.float32], engine: str) -> Logits:
    tensor = {"name": "images", "datatype": "FP32", "shape": images.shape, "data": images.ravel()}
    document = {"inputs": [tensor], "parameters": {"engine": engine}}
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)  # json takes a minute over all 160
    response = requests.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers["X-Engine"] == engine
    output = response.json()["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.parametrize("version", [1, 2])
def test_all_test_images_on_both_engines(
    platform: ServedPlatform, mnist_test: Split, manifests: dict[int, Manifest], version: int
) -> None:
    """Each engine as accurate as the manifest says, JSON and binary; their logits within 1e-4 of each other."""
    expected = manifests[version].accuracy
    assert expected is not None
    url = f"{platform.url}/v2/models/mnist/versions/{version}/infer"
    logits: dict[tuple[str, str], Logits] = {}
    for engine in ENGINES:
        for name, infer in (("binary", infer_binary), ("json", infer_json)):
            chunks = [infer(url, mnist_test.images[i : i + 250], engine) for i in range(0, 10_000, 250)]
            logits[engine, name] = np.concatenate(chunks)
            accuracy = float((logits[engine, name].argmax(axis=1) == mnist_test.labels).mean())
            assert accuracy == pytest.approx(expected, abs=1e-4), (engine, name)
            print(f"version {version} {engine} {name}: accuracy {accuracy:.4f}")
    difference = float(np.abs(logits["torchserve", "binary"] - logits["tfserving", "binary"]).max())
    print(f"version {version}: logits differ by at most {difference:.2e}")
    assert difference <= 1e-4
    for engine in ENGINES:
        assert np.abs(logits[engine, "binary"] - logits[engine, "json"]).max() <= 1e-4
    assert (expected >= 0.975) if version == 1 else (expected >= 0.983)


@pytest.mark.parametrize("engine", ENGINES)
def test_curl_classifies_light_on_dark_and_dark_on_light(platform: ServedPlatform, engine: str) -> None:
    pictures = ["-F", "image=@docs/digits/7.png", "-F", "image=@docs/digits/3-dark-on-light.png"]
    command = ["curl", "-sS", "-H", f"X-Engine: {engine}", *pictures, f"{platform.url}/models/mnist/classify"]
    root = Path(__file__).resolve().parents[2]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=root).stdout)
    assert [prediction["label"] for prediction in answer["predictions"]] == ["7", "3"]
    assert (answer["model"], answer["version"], answer["engine"]) == ("mnist", 2, engine)


def test_the_command_line_predicts_and_shows_the_state(platform: ServedPlatform) -> None:
    answer = platform.run("predict", "docs/digits/7.png", "--engine", "tfserving", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["predictions"][0]["label"] == "7"
    assert "answered by torchserve" in platform.run("predict", "docs/digits/7.png", "--engine", "torchserve").stdout

    wait_until(platform.has_settled, 60, "the versions beside the live one are loaded too")
    state = json.loads(platform.run("status", "--json").stdout)
    assert state["ready"] is True
    assert [(e["engine"], e["up"]) for e in state["engines"]] == [("torchserve", True), ("tfserving", True)]
    assert state["engines"][1]["implementation"] in ("embedded", "tensorflow_model_server")
    [model] = state["models"]
    assert model["live"] == 2
    assert all(v["engines"][e]["state"] == "ready" for v in model["versions"] for e in ENGINES)


def test_the_official_triton_client_agrees(platform: ServedPlatform, mnist_test: Split) -> None:
    """tritonclient as an independent witness of the binary tensor extension."""
    import tritonclient.http as triton

    client = triton.InferenceServerClient(platform.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    wait_until(lambda: bool(client.is_model_ready("mnist", "1")), 60, "the version before is loaded too")
    metadata = client.get_model_metadata("mnist")
    assert metadata["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 28, 28]}]
    tensor = triton.InferInput("images", [16, 28, 28], "FP32")
    for as_binary in (True, False):
        tensor.set_data_from_numpy(mnist_test.images[:16], binary_data=as_binary)
        wanted = triton.InferRequestedOutput("logits", binary_data=as_binary)
        result = client.infer("mnist", [tensor], model_version="2", outputs=[wanted], headers={"X-Engine": "tfserving"})
        np.testing.assert_array_equal(result.as_numpy("logits").argmax(axis=1), mnist_test.labels[:16])


def test_bad_input_reaches_no_engine(platform: ServedPlatform, mnist_test: Split) -> None:
    """The table of the unit tests once more, against real engines, which are as well afterwards as before."""
    url = f"{platform.url}/v2/models/mnist/infer"

    def status(shape: list[int], datatype: str = "FP32", size: int | None = None, path: str = url) -> int:
        count = int(np.prod(shape)) if size is None else size
        tensor = {"name": "images", "datatype": datatype, "shape": shape, "data": [0] * count}
        return requests.post(path, json={"inputs": [tensor]}, timeout=60).status_code

    assert status([1, 784]) == 400
    assert status([28, 28]) == 400
    assert status([1, 28, 28, 1]) == 400
    assert status([1, 28, 28], "INT32") == 400
    assert status([1, 28, 28], size=783) == 400
    assert status([0, 28, 28]) == 400
    assert status([1, 28, 28], path=f"{platform.url}/v2/models/mnist/versions/3/infer") == 404
    assert status([1, 28, 28], path=f"{platform.url}/v2/models/digits/infer") == 404
    assert requests.post(url, data=b"x" * (16 * 1024 * 1024 + 1), timeout=60).status_code == 413
    assert requests.post(f"{platform.url}/models/mnist/classify", data=b"GIF89a", timeout=60).status_code == 415
    for engine in ENGINES:
        assert infer_binary(url, mnist_test.images[:1], engine).shape == (1, 10)
        late, headers = binary_body(mnist_test.images[:1])
        in_time = late.replace(
            b'"parameters": {"binary_data_output"', b'"parameters": {"timeout": 1, "binary_data_output"'
        )
        headers = {HEADER_LENGTH: str(int(headers[HEADER_LENGTH]) + len(in_time) - len(late)), "X-Engine": engine}
        assert requests.post(url, data=in_time, headers=headers, timeout=60).status_code == 504


@pytest.mark.only_on("up", "it looks into the gateway's process")
def test_the_gateway_stays_small_and_free_of_frameworks(platform: ServedPlatform, mnist_test: Split) -> None:
    assert isinstance(platform, Platform)
    gateway = psutil.Process(platform.pid("gateway"))
    tally = asyncio.run(send_until(platform.url, mnist_test.images[:1], lambda tally: tally.total >= 10_000, 16))
    assert set(tally.statuses) == {200}, tally.problems[:3]
    assert min(tally.engines[engine] for engine in ENGINES) > 4000, "both engines had their share"
    resident_mb = gateway.memory_info().rss / 1e6
    print(f"gateway after {tally.total} requests: {resident_mb:.0f} MB resident")
    assert resident_mb < 150
    mapped = {Path(entry.path).name for entry in gateway.memory_maps()}
    assert not [name for name in mapped if "torch" in name or "tensorflow" in name or "tf_" in name]


def test_the_ledger_balances_and_names_both_engines(platform: ServedPlatform, mnist_test: Split) -> None:
    for engine in ENGINES:
        infer_binary(f"{platform.url}/v2/models/mnist/infer", mnist_test.images[:3], engine)
    ledger = platform.ledger()
    assert ledger["accepted"] == ledger["answered"] + ledger["failed"]
    assert ledger["answered"] >= 2
    text = platform.metrics()
    assert platform.up(text) == {"torchserve": 1, "tfserving": 1}
    assert platform.metric(text, "twinserve_inflight") == 0
    assert platform.metric(text, "twinserve_queue_rows") == 0


async def test_many_connections_at_once_are_batched(platform: ServedPlatform, mnist_test: Split) -> None:
    def rows_and_batches() -> tuple[float, float]:
        text = requests.get(f"{platform.url}/metrics", timeout=10).text
        return platform.metric(text, "twinserve_batch_rows_sum"), platform.metric(text, "twinserve_batch_rows_count")

    before = rows_and_batches()
    body, headers = binary_body(mnist_test.images[:1])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send() -> int:
            async with session.post(f"{platform.url}/v2/models/mnist/infer", data=body, headers=headers) as response:
                await response.read()
                return response.status

        statuses = await asyncio.gather(*(send() for _ in range(512)))
    after = rows_and_batches()
    assert set(statuses) == {200}
    assert after[0] - before[0] == 512
    assert after[1] - before[1] < 256, "rows that waited went together"
