"""What is sent to each server and read from it, against the messages' own definitions."""

import json

import numpy as np
import pytest

from contracts import blobs
from contracts.descriptors import Package, load_pool
from contracts.tfserving import load_messages
from loadtest.bench.dialects import (
    Asked,
    Blob,
    Floats,
    OipBinary,
    OipGrpc,
    OipJson,
    Predict,
    RawFloats,
    TorchServeGrpc,
    decode_bytes_field,
    encode_bytes_field,
    find_wrong,
    sample_rows,
)

IMAGES = np.random.default_rng(1).random((3, 28, 28)).astype(np.float32)
LOGITS = np.random.default_rng(2).normal(size=(3, 10)).astype(np.float32)


def oip_grpc_answer() -> bytes:
    answer = Package(load_pool(), "inference").ModelInferResponse()
    answer.outputs.add(name="logits", datatype="FP32", shape=[3, 10])
    answer.raw_output_contents.append(LOGITS.tobytes())
    return bytes(answer.SerializeToString())


def predict_answer(*, is_packed: bool) -> bytes:
    answer = load_messages().PredictResponse()
    proto = answer.outputs["logits"]
    proto.dtype = 1
    for size in LOGITS.shape:
        proto.tensor_shape.dim.add(size=size)
    if is_packed:
        proto.tensor_content = LOGITS.tobytes()
    else:
        proto.float_val.extend(LOGITS.ravel().tolist())
    return bytes(answer.SerializeToString())


def oip_json_answer() -> bytes:
    output = {"name": "logits", "shape": [3, 10], "datatype": "FP32", "data": LOGITS.ravel().tolist()}
    return json.dumps({"outputs": [output]}).encode()


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        (Blob(), blobs.encode({"logits": LOGITS})),
        (RawFloats(), LOGITS.tobytes()),
        (OipJson(), oip_json_answer()),
        (OipGrpc("mnist"), oip_grpc_answer()),
        (Predict("mnist"), predict_answer(is_packed=True)),
        (Predict("mnist"), predict_answer(is_packed=False)),
        (TorchServeGrpc("mnist"), encode_bytes_field(1, blobs.encode({"logits": LOGITS}))),
    ],
)
def test_logits_are_read(dialect: Blob, answer: bytes) -> None:
    assert find_wrong(LOGITS, dialect.decode(answer, None)) == ""


def test_binary_requests_carry_the_pixels_behind_their_header() -> None:
    asked = OipBinary().encode(IMAGES)
    end = int(asked.headers["Inference-Header-Content-Length"])
    assert np.array_equal(np.frombuffer(asked.body[end:], np.float32).reshape(3, 28, 28), IMAGES)


def test_json_requests_carry_the_pixels_to_four_digits() -> None:
    (tensor,) = json.loads(OipJson().encode(IMAGES).body)["inputs"]
    assert np.allclose(np.reshape(tensor["data"], tensor["shape"]), IMAGES, atol=5e-5)


def test_grpc_requests_are_what_their_services_define() -> None:
    infer = Package(load_pool(), "inference").ModelInferRequest.FromString(OipGrpc("mnist").encode(IMAGES).body)
    assert (infer.model_name, list(infer.inputs[0].shape)) == ("mnist", [3, 28, 28])
    assert infer.raw_input_contents[0] == IMAGES.tobytes()
    predict = load_messages().PredictRequest.FromString(Predict("mnist").encode(IMAGES).body)
    assert predict.model_spec.name == "mnist"
    assert predict.inputs["images"].tensor_content == IMAGES.tobytes()


def test_torchserves_request_is_a_map_entry_with_a_blob() -> None:
    asked: Asked = TorchServeGrpc("mnist").encode(IMAGES)
    name = encode_bytes_field(1, b"mnist")
    assert asked.body.startswith(name)
    entry = decode_bytes_field(3, asked.body[len(name) :])
    key = encode_bytes_field(1, b"body")
    assert entry.startswith(key)
    assert np.array_equal(blobs.decode(decode_bytes_field(2, entry[len(key) :]))["images"], IMAGES)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 70_000])
def test_fields_of_any_length_come_back(size: int) -> None:
    assert decode_bytes_field(5, encode_bytes_field(5, b"x" * size)) == b"x" * size


@pytest.mark.parametrize("message", [b"", b"\x08\x01", b"\x0a", b"\x0a\x05abc", b"\x0a\xff\xff"])
def test_a_message_that_is_cut_or_of_another_kind_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="field 1"):
        decode_bytes_field(1, message)


def wrong_answers() -> list[Floats]:
    swapped = LOGITS[[1, 0, 2]]
    broken = LOGITS.copy()
    broken[0, 0] = np.nan
    return [swapped, broken, LOGITS[:2], LOGITS.ravel(), LOGITS + np.float32(0.1)]


@pytest.mark.parametrize("answer", wrong_answers())
def test_rows_of_somebody_else_and_broken_numbers_are_found(answer: Floats) -> None:
    assert find_wrong(LOGITS, answer)


def test_requests_take_their_rows_around_the_end() -> None:
    assert sample_rows(62, 4, 64) == [62, 63, 0, 1]
