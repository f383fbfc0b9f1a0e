"""tritonclient, both its HTTP clients, against the gateway: everything they have a call for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.unit.gateway.listening import INFER, Listening, listening_gateway

OPERATOR = {"authorization": "Bearer t"}
CODINGS = (None, "gzip", "deflate")


@pytest.fixture
def client(listening: Listening) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{listening.port}", concurrency=4) as client:
        yield client


def tensor(rows: int = 2, is_binary: bool = True, module: Any = triton) -> Any:
    made = module.InferInput("a", [rows, 2], "FP32")
    made.set_data_from_numpy(numbered(rows), binary_data=is_binary)
    return made


def numbered(rows: int) -> Any:
    """Rows that all differ, and hold no 13, which the fake engine refuses."""
    return np.arange(rows * 2, dtype=np.float32).reshape(rows, 2) / 4 + 20


def doubled(rows: int = 2) -> Any:
    return numbered(rows) * 2


def test_the_server_and_its_models(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("adder")
    assert client.is_model_ready("adder", "1")
    assert not client.is_model_ready("adder", "9")
    assert not client.is_model_ready("nobody")
    metadata = client.get_server_metadata()
    assert metadata["name"] == "twinserve"
    assert {"binary_tensor_data", "statistics", "model_configuration", "model_repository"} <= set(
        metadata["extensions"]
    )
    assert client.get_model_metadata("adder", "1")["inputs"] == [{"name": "a", "datatype": "FP32", "shape": [-1, 2]}]


def test_the_configuration(client: Any) -> None:
    config = client.get_model_config("adder")
    assert config == client.get_model_config("adder", "1")
    assert (config["name"], config["max_batch_size"]) == ("adder", 64)
    assert config["input"] == [{"name": "a", "data_type": "TYPE_FP32", "dims": [2]}]
    with pytest.raises(InferenceServerException, match="unknown model 'nobody'"):
        client.get_model_config("nobody")


@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
def test_inference_in_every_form(client: Any, is_binary_in: bool, is_binary_out: bool, coding: str | None) -> None:
    rows = 700  # an answer large enough to be compressed, and too large for one batch
    result = client.infer(
        "adder",
        [tensor(rows, is_binary_in)],
        outputs=[triton.InferRequestedOutput("sum", binary_data=is_binary_out)],
        request_id="seven",
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(result.as_numpy("sum"), doubled(rows))
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", "adder", "1")


def test_inference_with_everything_said(client: Any) -> None:
    result = client.infer(
        "adder",
        [tensor()],
        model_version="1",
        timeout=900_000,
        priority=1,
        sequence_id=7,
        parameters={"engine": "tfserving"},
        headers={"X-Engine": "tfserving"},
    )
    np.testing.assert_array_equal(result.as_numpy("sum"), doubled())
    waiting = [client.async_infer("adder", [tensor(rows)]) for rows in (1, 2, 3)]
    for rows, answered in zip((1, 2, 3), waiting, strict=True):
        np.testing.assert_array_equal(answered.get_result().as_numpy("sum"), doubled(rows))


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"model_name": "nobody"}, "404", "unknown model 'nobody'"),
        ({"model_version": "9"}, "404", "unknown version 9"),
        ({"outputs": [triton.InferRequestedOutput("y")]}, "400", "unexpected output 'y'"),
        ({"outputs": [triton.InferRequestedOutput("sum", class_count=3)]}, "400", "'classification' is not supported"),
        ({"headers": {"X-Engine": "onnx"}}, "400", "unknown engine 'onnx'"),
        ({"timeout": 1}, "504", "deadline"),
    ],
)
def test_refusals(client: Any, options: dict[str, Any], status: str, said: str) -> None:
    with pytest.raises(InferenceServerException, match=said) as refused:
        client.infer(**{"model_name": "adder", "inputs": [tensor()], **options})
    assert refused.value.status() == status


@pytest.mark.parametrize(
    ("datatype", "array", "said"),
    [
        ("FP64", np.zeros((1, 2)), "expected datatype FP32, got FP64"),
        ("BYTES", np.array([["x", "y"]], np.object_), "expected datatype FP32, got BYTES"),
        ("FP32", np.zeros((1, 3), np.float32), r"expected shape \[-1, 2\]"),
        ("FP32", np.zeros((0, 2), np.float32), "expected at least one row, got 0"),
    ],
)
def test_tensors_that_do_not_fit(client: Any, datatype: str, array: Any, said: str) -> None:
    given = triton.InferInput("a", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    with pytest.raises(InferenceServerException, match=said) as refused:
        client.infer("adder", [given])
    assert refused.value.status() == "400"


def test_the_body_alone_is_a_request(listening: Listening) -> None:
    """Triton's raw binary request: a header length of 0."""
    body = numbered(3).tobytes()
    head = INFER + b"connection: close\r\ninference-header-content-length: 0\r\ncontent-length: %d\r\n\r\n"
    answered = listening.send(head % len(body), body)
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(doubled(3).tobytes())


def test_statistics_and_the_repository(tmp_path: Path) -> None:
    with (
        listening_gateway(tmp_path) as alone,
        triton.InferenceServerClient(f"127.0.0.1:{alone.port}") as client,
    ):
        for _ in range(3):
            client.infer("adder", [tensor(rows=5)])
        with pytest.raises(InferenceServerException):
            client.infer("adder", [tensor()], headers={"x-engine": "nobody"})
        [told] = client.get_inference_statistics("adder", "1")["model_stats"]
        assert client.get_inference_statistics()["model_stats"] == [told]
        assert (told["name"], told["version"], told["inference_count"], told["execution_count"]) == (
            "adder",
            "1",
            15,
            3,
        )
        stats = told["inference_stats"]
        assert (stats["success"]["count"], stats["fail"]["count"]) == (3, 1)
        parts = [stats[part] for part in ("queue", "compute_input", "compute_infer", "compute_output")]
        assert all(part["count"] == 3 for part in parts)
        assert 0 < sum(part["ns"] for part in parts) <= stats["success"]["ns"]
        assert told["last_inference"] > 1_600_000_000_000

        assert client.get_model_repository_index() == [
            {"name": "adder", "version": "1", "state": "READY", "reason": ""}
        ]
        client.load_model("adder")  # live already: anybody may ask
        with pytest.raises(InferenceServerException, match="live and cannot be unloaded"):
            client.unload_model("adder", headers=OPERATOR)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"config": {"version_policy": {"specific": {"versions": [9]}}}}, "unknown version 9"),
        ({"config": {"version_policy": {"specific": {"versions": [1, 2]}}}}, "can only name one version to go live"),
        ({"config": {"max_batch_size": 3}}, "can only name one version to go live"),
        ({"config": {"name": "other"}}, "can only name one version to go live"),
        ({"config": "no JSON"}, "can only name one version to go live"),
        ({"config": {}, "files": {"file:1/model.pt": b"x"}}, "parameter 'file:1/model.pt' is not supported here"),
    ],
)
@pytest.mark.parametrize("module", [triton, triton_grpc])
def test_what_load_cannot_follow_is_refused(listening: Listening, module: Any, how: dict[str, Any], said: str) -> None:
    target = f"127.0.0.1:{listening.port}" if module is triton else listening.grpc_target
    given = how | {"config": how["config"] if isinstance(how["config"], str) else json.dumps(how["config"])}
    with module.InferenceServerClient(target) as client, pytest.raises(InferenceServerException, match=said):
        client.load_model("adder", headers=OPERATOR, **given)


@pytest.mark.parametrize("module", [triton, triton_grpc])
def test_load_takes_the_version_that_a_configuration_names(listening: Listening, module: Any) -> None:
    target = f"127.0.0.1:{listening.port}" if module is triton else listening.grpc_target
    with module.InferenceServerClient(target) as client:
        for config in ('{"version_policy": {"specific": {"versions": [1]}}}', '{"name": "adder"}', "{}"):
            client.load_model("adder", config=config)  # version 1 is live already


def test_a_misspelt_parameter_promotes_nothing(listening: Listening) -> None:
    url = f"http://127.0.0.1:{listening.port}/v2/repository/models/adder/load"
    refused = requests.post(url, json={"parameters": {"versoin": 1}}, headers=OPERATOR, timeout=10)
    assert (refused.status_code, "parameter 'versoin' is not supported" in refused.text) == (400, True)


@pytest.mark.parametrize("coding", CODINGS)
async def test_the_asynchronous_client(listening: Listening, coding: str | None) -> None:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{listening.port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("adder", "1")
        assert (await client.get_server_metadata())["name"] == "twinserve"
        assert (await client.get_model_metadata("adder"))["name"] == "adder"
        assert (await client.get_model_config("adder"))["max_batch_size"] == 64
        assert (await client.get_model_repository_index())[0]["state"] == "READY"
        await client.load_model("adder")
        result = await client.infer(
            "adder",
            [tensor(rows=600, module=triton_aio)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(result.as_numpy("sum"), doubled(600))
        [told] = (await client.get_inference_statistics("adder", "1"))["model_stats"]
        assert told["inference_stats"]["success"]["count"] >= 1
        with pytest.raises(InferenceServerException, match="unknown model 'nobody'"):
            await client.infer("nobody", [tensor(module=triton_aio)])
