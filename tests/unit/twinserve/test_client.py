"""The Python client, both of its kinds, against a gateway over fake engines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ports import free_port
from tests.unit.gateway.listening import Listening, listening_gateway
from twinserve.client import AsyncGatewayClient, CallError, GatewayClient, Unanswered, Wishes

ROWS = np.array([[1, 2], [3, 4]], np.float32)
EVERYTHING = Wishes(version=1, engine="tfserving", outputs=("sum",), timeout_s=0.9, request_id="mine")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening_gateway(tmp_path_factory.mktemp("client")) as listening:
        yield listening


@pytest.fixture
def url(gateway: Listening) -> str:
    return f"http://127.0.0.1:{gateway.port}/"


def test_inference(url: str) -> None:
    with GatewayClient(url) as client:
        answer = client.infer("adder", {"a": ROWS}, EVERYTHING)
        np.testing.assert_array_equal(answer.outputs["sum"], ROWS * 2)
        said = (answer.model, answer.version, answer.engine, answer.request_id)
        assert said == ("adder", 1, "tfserving", "mine")
        assert client.infer("adder", {"a": ROWS}).outputs["sum"].shape == (2, 2)
        assert client.is_ready()
        assert client.metadata("adder", 1)["name"] == "adder"
    assert GatewayClient(url).metadata("adder")["versions"] == ["1"], "without a kept connection, too"


async def test_inference_in_an_event_loop(url: str) -> None:
    async with AsyncGatewayClient(url, token="t") as client:
        answer = await client.infer("adder", {"a": ROWS}, EVERYTHING)
        np.testing.assert_array_equal(answer.outputs["sum"], ROWS * 2)
        assert (answer.version, answer.engine, answer.request_id) == (1, "tfserving", "mine")
        assert await client.is_ready()
        assert (await client.metadata("adder"))["platform"] == "twinserve"
        assert (await client.state())["ready"] is True
        assert (await client.model_state("adder"))["live"] == 1
        with pytest.raises(CallError, match="409"):
            await client.roll_back("adder", {})
        with pytest.raises(CallError, match="the model takes no pictures"):
            await client.classify("adder", [Path(__file__)], "torchserve", "no")


@pytest.mark.parametrize(
    ("model", "inputs", "wishes", "status", "said"),
    [
        ("nobody", {"a": ROWS}, {}, 404, "404: unknown model 'nobody'"),
        ("adder", {"a": ROWS}, {"version": 7}, 404, "unknown version 7"),
        ("adder", {"b": ROWS}, {}, 400, "unexpected input 'b'"),
        ("adder", {"a": ROWS}, {"engine": "onnx"}, 400, "unknown engine 'onnx'"),
        ("adder", {"a": ROWS}, {"timeout_s": 1e-6}, 504, "504"),
        ("adder", {"a": np.array([["x", "y"]])}, {}, 400, "expected datatype FP32, got BYTES"),
        (
            "adder",
            {"a": np.array([["x", 1]], np.object_)},
            {},
            None,
            "expected str and bytes in an array of objects, got int",
        ),
        ("adder", {"a": np.zeros((1, 2), np.complex64)}, {}, None, "expected tensors of BOOL, .*; 'a' is complex64"),
    ],
)
def test_refusals(url: str, model: str, inputs: Any, wishes: Any, status: int | None, said: str) -> None:
    with pytest.raises(CallError, match=said) as refused:
        GatewayClient(url).infer(model, inputs, Wishes(**wishes))
    assert refused.value.status == status


@pytest.mark.parametrize("rows", [[[1.5, 2], [3, 4]], [[1, 2]], np.array([[0.1, 2]]), np.array([[1, 2]], np.float16)])
async def test_numbers_are_sent_in_the_models_datatype(url: str, rows: Any) -> None:
    expected = np.asarray(rows, np.float32) * 2
    sync = GatewayClient(url).infer("adder", {"a": rows}).outputs["sum"]
    async with AsyncGatewayClient(url) as client:
        other = (await client.infer("adder", {"a": rows}, Wishes(version=1))).outputs["sum"]
    for sums in (sync, other):
        assert sums.dtype == np.float32
        np.testing.assert_array_equal(sums, expected)


def test_numbers_that_the_model_cannot_hold_are_refused(url: str) -> None:
    for rows in ([[1e300, 1]], [[2**24 + 1, 1]]):
        with pytest.raises(CallError, match="expected datatype FP32, got"):
            GatewayClient(url).infer("adder", {"a": rows})


def test_pictures_need_no_more_than_the_model_and_the_files(url: str) -> None:
    with pytest.raises(CallError, match="the model takes no pictures"):
        GatewayClient(url).classify("adder", [Path(__file__)])


async def test_a_path_may_be_text(url: str) -> None:
    client = GatewayClient(url)
    with pytest.raises(CallError, match="the model takes no pictures"):
        client.classify("adder", [__file__])
    async with AsyncGatewayClient(url) as other:
        with pytest.raises(CallError, match="the model takes no pictures"):
            await other.classify("adder", [__file__, Path(__file__)])
    alone: Any
    for alone in ("7.png", Path("7.png")):
        with pytest.raises(TypeError, match="expected a list of picture files, got "):
            client.classify("adder", alone)


@pytest.mark.parametrize("inputs", [ROWS, [[1, 2]], None])
async def test_tensors_need_names(url: str, inputs: Any) -> None:
    said = f"expected a mapping of input names to arrays, got {type(inputs).__name__}"
    with pytest.raises(TypeError, match=said):
        GatewayClient(url).infer("adder", inputs)
    async with AsyncGatewayClient(url) as client:
        with pytest.raises(TypeError, match=said):
            await client.infer("adder", inputs)


def test_the_scheme_may_be_left_out(url: str) -> None:
    assert GatewayClient(url.removeprefix("http://")).is_ready()


def test_operators_need_a_token(url: str) -> None:
    with pytest.raises(CallError, match=r"needs the operators' token.*\.twinserve/admin-token.*TWINSERVE_ADMIN_TOKEN"):
        GatewayClient(url).state()
    assert GatewayClient(url, token="t").state()["ready"] is True
    with pytest.raises(CallError, match=r"401: the operators' token is wrong.*\.twinserve/admin-token") as refused:
        GatewayClient(url, token="wrong").state()
    assert refused.value.status == 401


async def test_nobody_there() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unanswered, match="nothing answers at") as unanswered:
        GatewayClient(nowhere).is_ready()
    assert "--" not in str(unanswered.value), "a program has no options"
    async with AsyncGatewayClient(nowhere) as client:
        with pytest.raises(Unanswered, match="nothing answers at"):
            await client.is_ready()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:notaport", "http://[::1", "ftp://here:8000", "http://", "127.0.0.1:x"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(CallError, match="is no URL of a gateway"):
        GatewayClient(url).is_ready()
    with pytest.raises(CallError, match="is no URL of a gateway"):
        AsyncGatewayClient(url)
