"""BYTES and BF16 through the whole gateway, by every dialect that has them, with the protocols' own clients."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from contracts import byte_strings
from contracts.bfloat16 import narrow, widen
from contracts.byte_strings import encode
from gateway.core.messages import EngineBatch
from gateway.core.tensors import BYTES, MOST_STRINGS, Tensor
from tests.unit.gateway.listening import Listening, listening_gateway
from tests.unit.gateway.rpc import PREDICT, TENSORFLOW, rpc_client
from tests.unit.gateway.test_repository import MANIFEST
from twinserve.client import CallError, GatewayClient

TEXTS = np.array([[b"one", b""], ["zwölf".encode(), b"a\nb"], [b"x" * 5000, b'"data"']], BYTES)
NOT_TEXT = np.array([[b"\xff\0", b"\x80"]], BYTES)
HALVES = np.array([[1.5, -2], [0.001, 1e38]], ml_dtypes.bfloat16)


def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
    """Each text twice over, and how long it is; each number twice."""
    if "text" in batch.inputs:
        text = batch.inputs["text"]
        lengths = [[len(element) for element in row] for row in text.tolist()]
        return {"twice": text + text, "length": np.array(lengths, np.int32)}
    return {"twice": narrow(widen(batch.inputs["half"]) * 2)}


def described(*tensors: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": datatype, "shape": [-1, 2]} for name, datatype in tensors]


MODELS = {
    "texts": {"inputs": described(("text", "BYTES")), "outputs": described(("twice", "BYTES"), ("length", "INT32"))},
    "halves": {"inputs": described(("half", "BF16")), "outputs": described(("twice", "BF16"))},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("bytes")
    for name, signature in MODELS.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (version / "manifest.json").write_text(json.dumps(MANIFEST | {"model": name, "signature": signature}))
        (folder / name / "live.json").write_text('{"live": 1}')
    with listening_gateway(folder, answer) as served:
        yield served


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, served: Listening) -> Iterator[tuple[Any, Any]]:
    module: Any = triton if request.param == "http" else triton_grpc
    target = f"127.0.0.1:{served.port}" if module is triton else served.grpc_target
    with module.InferenceServerClient(target) as made:
        yield made, module


def asked(module: Any, name: str, array: Any, datatype: str, **how: Any) -> list[Any]:
    made = module.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, **how)
    return [made]


def test_tritonclient_sends_and_reads_bytes(client: tuple[Any, Any]) -> None:
    caller, module = client
    for texts in (TEXTS, NOT_TEXT):
        result = caller.infer("texts", asked(module, "text", texts, "BYTES"))
        np.testing.assert_array_equal(result.as_numpy("twice"), texts + texts)
        assert result.as_numpy("length").tolist() == [[len(text) for text in row] for row in texts.tolist()]


def test_tritonclient_sends_and_reads_bf16(client: tuple[Any, Any]) -> None:
    caller, module = client
    result = caller.infer("halves", asked(module, "half", HALVES, "BF16"))
    assert result.as_numpy("twice").dtype == HALVES.dtype
    np.testing.assert_array_equal(result.as_numpy("twice"), HALVES * HALVES.dtype.type(2))


def test_more_texts_than_a_batch_has(client: tuple[Any, Any]) -> None:
    caller, module = client
    texts = np.array([[str(row).encode(), b"-"] for row in range(150)], BYTES)
    result = caller.infer("texts", asked(module, "text", texts, "BYTES"))
    np.testing.assert_array_equal(result.as_numpy("twice"), texts + texts)


def test_many_texts_are_read_beside_the_event_loop(client: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    decode = byte_strings.decode

    def watched(data: bytes | memoryview, count: int) -> list[bytes]:
        threads.append(threading.current_thread().name)
        return decode(data, count)

    monkeypatch.setattr(byte_strings, "decode", watched)
    caller, module = client
    for rows in (1, 600):
        texts = np.full((rows, 2), b"x" * 60, BYTES)
        result = caller.infer("texts", asked(module, "text", texts, "BYTES"))
        np.testing.assert_array_equal(result.as_numpy("twice"), texts + texts)
    [of_few, of_many] = threads
    assert of_few != of_many
    assert of_many.startswith("asyncio_")


@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
def test_strings_in_json(served: Listening, is_binary_in: bool, is_binary_out: bool) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as caller:
        outputs = [triton.InferRequestedOutput("twice", binary_data=is_binary_out)]
        result = caller.infer("texts", asked(triton, "text", TEXTS, "BYTES", binary_data=is_binary_in), outputs=outputs)
    read = result.as_numpy("twice")
    if not is_binary_out:  # then tritonclient leaves them as they stand in JSON
        read = np.array([[text.encode() for text in row] for row in read.tolist()], BYTES)
    np.testing.assert_array_equal(read, TEXTS + TEXTS)


def test_what_json_cannot_carry(served: Listening) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as caller:
        for model, name, array, datatype, said in (
            ("texts", "text", NOT_TEXT, "BYTES", "output 'twice' for these inputs is not UTF-8, .*ask for binary data"),
            ("halves", "half", HALVES, "BF16", "output 'twice': JSON has no BF16: ask for binary data"),
        ):
            outputs = [triton.InferRequestedOutput("twice", binary_data=False)]
            with pytest.raises(InferenceServerException, match=said) as refused:
                caller.infer(model, asked(triton, name, array, datatype), outputs=outputs)
            assert refused.value.status() == "400"


def test_our_own_client(served: Listening) -> None:
    gateway = GatewayClient(f"http://127.0.0.1:{served.port}")
    np.testing.assert_array_equal(gateway.infer("texts", {"text": NOT_TEXT}).outputs["twice"], NOT_TEXT * 2)
    told = gateway.infer("texts", {"text": np.array([["zwölf", ""]])}).outputs
    assert told["twice"].tolist() == [["zwölfzwölf".encode(), b""]]
    assert told["length"].tolist() == [[6, 0]]
    for halves in (HALVES, narrow(HALVES)):
        doubled = gateway.infer("halves", {"half": halves}).outputs["twice"]
        assert doubled.dtype == np.float32
        np.testing.assert_array_equal(doubled, (HALVES * HALVES.dtype.type(2)).astype(np.float32))
    rounded = gateway.infer("halves", {"half": [[1.001, 3.0]]}).outputs["twice"]
    np.testing.assert_array_equal(rounded, np.array([[2.0, 6.0]], np.float32))
    with pytest.raises(CallError, match="expected datatype BF16, got FP64"):
        gateway.infer("halves", {"half": [[1e39, 0.0]]})


def test_metadata_and_configuration(served: Listening) -> None:
    url = f"http://127.0.0.1:{served.port}/v2/models"
    assert requests.get(f"{url}/texts", timeout=10).json()["inputs"] == MODELS["texts"]["inputs"]
    [text] = requests.get(f"{url}/texts/config", timeout=10).json()["input"]
    assert text == {"name": "text", "data_type": "TYPE_STRING", "dims": [2]}
    [half] = requests.get(f"{url}/halves/config", timeout=10).json()["output"]
    assert half == {"name": "twice", "data_type": "TYPE_BF16", "dims": [2]}
    assert requests.get(f"http://127.0.0.1:{served.port}/openapi.json", timeout=10).status_code == 200


def test_tensorflow_rest_has_strings(served: Listening) -> None:
    url = f"http://127.0.0.1:{served.port}/v1/models"
    encoded = {"b64": base64.b64encode(b"\xc3\xa9").decode()}
    told = requests.post(f"{url}/texts:predict", json={"instances": [["a", encoded]]}, timeout=10).json()
    assert told == {"predictions": [{"length": [1, 2], "twice": ["aa", "éé"]}]}
    told = requests.post(f"{url}/texts:predict", json={"inputs": [["a", "b"]]}, timeout=10).json()
    assert told == {"outputs": {"length": [[1, 1]], "twice": [["aa", "bb"]]}}
    refused = requests.post(f"{url}/texts:predict", json={"instances": [["a", 1]]}, timeout=10)
    assert (refused.status_code, "is not of expected type: string" in refused.text) == (400, True)
    refused = requests.post(f"{url}/halves:predict", json={"instances": [[1, 2]]}, timeout=10)
    assert (refused.status_code, "to type: bfloat16" in refused.text) == (501, True)


def test_tensorflow_grpc_has_both(served: Listening) -> None:
    for model, alias, kind, field, sent, back in (
        ("texts", "text", 7, "string_val", [b"\xff", b""], [b"\xff\xff", b""]),
        ("halves", "half", 14, "half_val", [0x3F80, 0x4000], [0x4000, 0x4080]),
    ):
        request = TENSORFLOW.PredictRequest()
        request.model_spec.name = model
        proto = request.inputs[alias]
        proto.dtype = kind
        for size in (1, 2):
            proto.tensor_shape.dim.add().size = size
        getattr(proto, field).extend(sent)
        with rpc_client(served.grpc_target) as caller:
            outcome = caller.call(PREDICT, request)
        answered = TENSORFLOW.PredictResponse.FromString(outcome.message).outputs["twice"]
        assert (answered.dtype, list(getattr(answered, field))) == (kind, back)


def test_torchserves_dialect(served: Listening) -> None:
    url = f"http://127.0.0.1:{served.port}/predictions"
    told = requests.post(f"{url}/texts", json={"text": [["a", "b"]]}, timeout=10).json()
    assert told == {"twice": [["aa", "bb"]], "length": [[1, 1]]}
    refused = requests.post(f"{url}/halves", json={"half": [[1, 2]]}, timeout=10)
    assert (refused.status_code, "JSON has no BF16" in refused.text) == (400, True)
    head = b'{"half":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    blob = len(head).to_bytes(8, "little") + head + b"\x80\x3f\x00\x40"
    told_blob = requests.post(f"{url}/halves", data=blob, timeout=10)
    assert (told_blob.status_code, told_blob.content[-4:]) == (200, b"\x00\x40\x80\x40")


def test_a_body_alone_is_one_text(served: Listening) -> None:
    """Only a model whose sizes may all be one takes it."""
    headers = {"Inference-Header-Content-Length": "0"}
    url = f"http://127.0.0.1:{served.port}/v2/models/texts/infer"
    refused = requests.post(url, data=b"hello", headers=headers, timeout=10)
    assert (refused.status_code, "a body of tensor data alone is one element" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [
        (encode(TEXTS)[:-1], None, "'text': expected BYTES, each after its length: element 5 says 6 bytes, 5 are left"),
        (encode(TEXTS) + b"!", None, "1 bytes follow the 6 elements"),
        (bytes(23), None, "expected at least 24 bytes for BYTES[3, 2], got 23"),
        (b"\xff" * 24, None, "element 0 says 4294967295 bytes, 20 are left"),
        (encode(TEXTS), 10**9, "expected 1000000000 bytes of tensor data"),
        (encode(TEXTS), -1, "expected at least 24 bytes for BYTES[3, 2], got -1"),
        (encode(TEXTS), 0, "expected at least 24 bytes for BYTES[3, 2], got 0"),
    ],
)
def test_lengths_that_do_not_add_up(served: Listening, data: bytes, size: int | None, said: str) -> None:
    item = {"name": "text", "datatype": "BYTES", "shape": [3, 2], "parameters": {"binary_data_size": size or len(data)}}
    if size is not None:
        item["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [item]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    url = f"http://127.0.0.1:{served.port}/v2/models/texts/infer"
    refused = requests.post(url, data=head + data, headers=headers, timeout=10)
    assert refused.status_code == 400
    assert said in refused.json()["error"]


def test_more_strings_than_a_request_may_have_are_refused_before_they_are_made(
    client: tuple[Any, Any], served: Listening
) -> None:
    """Each is an object: eight million, of a few bytes on the wire, would keep everybody waiting for seconds."""
    caller, module = client
    too_many = np.full((MOST_STRINGS // 2 + 1, 2), b"", BYTES)
    with pytest.raises(
        InferenceServerException, match=f"at most {MOST_STRINGS} elements of BYTES|at most 100000 bytes"
    ):
        caller.infer("texts", asked(module, "text", too_many, "BYTES"))
    request = TENSORFLOW.PredictRequest()
    request.model_spec.name = "texts"
    request.inputs["text"].dtype = 7
    for size in (4_000_000, 2):
        request.inputs["text"].tensor_shape.dim.add().size = size
    request.inputs["text"].string_val.append(b"")
    with rpc_client(served.grpc_target) as rpc:
        outcome = rpc.call(PREDICT, request)
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"at most {MOST_STRINGS} elements" in outcome.said
