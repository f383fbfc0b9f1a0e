"""tritonclient, both its gRPC clients, against the gateway: everything they have a call for."""

import queue
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.unit.gateway.rpc import gateway_here
from tests.unit.gateway.served import TOKEN, Served, serving

OPERATOR = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway for tests that leave it as it is."""
    with serving(tmp_path_factory.mktemp("triton")) as served:
        yield served


@pytest.fixture
def client(shared: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(shared.grpc_target) as client:
        yield client


def tensor(rows: int = 2) -> Any:
    made = triton.InferInput("a", [rows, 2], "FP32")
    made.set_data_from_numpy(np.arange(rows * 2, dtype=np.float32).reshape(rows, 2))
    return made


def test_the_server(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "twinserve"
    assert {"statistics", "model_configuration", "model_repository"} <= set(metadata.extensions)


def test_models(client: Any) -> None:
    assert client.is_model_ready("adder")
    assert client.is_model_ready("adder", "1")
    assert not client.is_model_ready("adder", "9")
    assert not client.is_model_ready("adder", "newest")
    assert not client.is_model_ready("nobody")
    metadata = client.get_model_metadata("adder", "1")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("adder", ["1", "2"], "twinserve")
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [("a", "FP32", [-1, 2])]
    assert [(o.name, o.datatype, list(o.shape)) for o in metadata.outputs] == [("sum", "FP32", [-1, 2])]


def test_metadata_is_the_same_over_http(client: Any, shared: Served) -> None:
    told = client.get_model_metadata("pictures", as_json=True)
    for side in ("inputs", "outputs"):
        for item in told[side]:
            item["shape"] = [int(size) for size in item["shape"]]
    assert told == shared.client.get("/v2/models/pictures").json()


def test_the_configuration_leaves_out_the_rows(client: Any) -> None:
    config = client.get_model_config("pictures").config
    assert (config.name, config.max_batch_size, config.WhichOneof("scheduling_choice")) == (
        "pictures",
        64,
        "dynamic_batching",
    )
    [images] = config.input
    assert (images.name, images.data_type, list(images.dims)) == ("images", 11, [28, 28])  # TYPE_FP32
    assert list(config.output[0].dims) == [2]
    assert list(config.version_policy.specific.versions) == [1]
    assert not config.model_transaction_policy.decoupled


def test_inference(client: Any) -> None:
    result = client.infer("adder", [tensor()], model_version="1", request_id="seven", timeout=2_000_000)
    np.testing.assert_array_equal(result.as_numpy("sum"), [[0, 2], [4, 6]])
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("seven", "adder", "1")
    wanted = client.infer("adder", [tensor()], outputs=[triton.InferRequestedOutput("sum")])
    assert wanted.get_response().model_version == "2"
    with pytest.raises(InferenceServerException, match="unexpected output 'y'"):
        client.infer("adder", [tensor()], outputs=[triton.InferRequestedOutput("y")])


def test_inference_by_callback(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer("adder", [tensor()], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=10)
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("sum"), [[0, 2], [4, 6]])


def test_a_stream_answers_in_order_and_survives_errors(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(200):
        client.async_stream_infer("adder" if number != 100 else "nobody", [tensor()], request_id=str(number))
    got = [answers.get(timeout=10) for _ in range(200)]
    client.stop_stream()
    assert [result.get_response().id for result, _ in got if result] == [str(n) for n in range(200) if n != 100]
    assert [str(error) for _, error in got if error] == [
        "unknown model 'nobody': expected one of ['adder', 'pictures']"
    ]
    engines = {result.get_response().parameters["engine"].string_param for result, _ in got if result}
    assert engines == {"torchserve", "tfserving"}


def test_statistics_count_what_was_done(tmp_path: Path) -> None:
    with serving(tmp_path) as served, triton.InferenceServerClient(served.grpc_target) as client:
        for _ in range(3):
            client.infer("adder", [tensor(rows=5)])
        with pytest.raises(InferenceServerException):
            client.infer("adder", [tensor()], headers={"x-engine": "nobody"})
        served.infer([1, 2])  # HTTP is counted with it
        [first, second] = client.get_inference_statistics("adder").model_stats
        assert (first.version, first.inference_stats.success.count, first.last_inference) == ("1", 0, 0)
        assert (second.inference_count, second.execution_count) == (16, 4)
        stats = second.inference_stats
        assert (stats.success.count, stats.fail.count) == (4, 1)
        parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
        assert all(part.count == 4 for part in parts)
        assert stats.compute_infer.ns > 0
        assert sum(part.ns for part in parts) <= stats.success.ns
        assert second.last_inference > 1_600_000_000_000
        assert len(client.get_inference_statistics("adder", "2").model_stats) == 1
        assert {stat.name for stat in client.get_inference_statistics().model_stats} == {"adder", "pictures"}


def test_the_repository(tmp_path: Path) -> None:
    with serving(tmp_path) as served, triton.InferenceServerClient(served.grpc_target) as client:
        index = client.get_model_repository_index().models
        assert [(entry.name, entry.version, entry.state) for entry in index] == [
            ("adder", "1", "READY"),
            ("adder", "2", "READY"),
            ("pictures", "1", "READY"),
        ]
        client.load_model("adder")  # live already: anybody may ask
        with pytest.raises(InferenceServerException, match="live and cannot be unloaded") as refused:
            client.unload_model("adder", headers=OPERATOR)
        assert refused.value.status() == "StatusCode.FAILED_PRECONDITION"
        with pytest.raises(InferenceServerException, match="unknown model 'nobody'"):
            client.load_model("nobody", headers=OPERATOR)


async def test_the_asynchronous_client(tmp_path: Path) -> None:
    async with gateway_here(tmp_path) as here, triton_aio.InferenceServerClient(here.server.port.target) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("adder", "2")
        assert (await client.get_server_metadata()).name == "twinserve"
        assert (await client.get_model_metadata("adder")).name == "adder"
        assert (await client.get_model_config("adder")).config.max_batch_size == 64
        assert len((await client.get_model_repository_index()).models) == 3
        await client.load_model("adder")
        result = await client.infer("adder", [tensor()], request_id="a", headers={"x-engine": "torchserve"})
        np.testing.assert_array_equal(result.as_numpy("sum"), [[0, 2], [4, 6]])

        async def requests() -> AsyncIterator[Any]:
            for number in range(3):
                yield {"model_name": "adder", "inputs": [tensor()], "request_id": str(number)}

        ids = [result.get_response().id async for result, error in client.stream_infer(requests()) if error is None]
        assert ids == ["0", "1", "2"]
        [statistics] = (await client.get_inference_statistics("adder", "2")).model_stats
        assert statistics.inference_stats.success.count == 4
