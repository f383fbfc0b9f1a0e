"""The embedded TF server through the official stubs: Predict, metadata, and what they refuse."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

from tests.embedded_server import (
    WAIT_S,
    Engine,
    calc_model,
    content,
    failure,
    model_list,
    pinned,
    predict_request,
    running_engine,
)

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A server with version 1, and only it, being served."""
    config = model_list(pinned(calc_model(tmp_path_factory), 1))
    with running_engine(tmp_path_factory.mktemp("run"), config) as engine:
        yield engine


def test_predict_answers_in_typed_fields(engine: Engine) -> None:
    answer = engine.predict(x=np.array([[1, 2], [3, 4]], np.float32))
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("calc", "serving_default")
    assert answer.model_spec.version.value == 1
    assert list(answer.outputs["sum"].float_val) == [2, 3, 4, 5]
    assert answer.outputs["sum"].tensor_content == b""
    assert [dim.size for dim in answer.outputs["sum"].tensor_shape.dim] == [2, 2]
    assert list(answer.outputs["version"].float_val) == [1]


def test_an_output_filter_leaves_the_rest_out(engine: Engine) -> None:
    request = predict_request("calc", "", x=np.zeros((1, 2), np.float32))
    request.output_filter.append("version")
    assert list(engine.predictions.Predict(request).outputs) == ["version"]


ECHOES = {
    "float32": np.array([[0.1, -np.inf], [3, 4]], np.float32),
    "float64": np.array([0.1, np.nan]),
    "float16": np.array([0.5, -2], np.float16),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([0, 255], np.uint8),
    "int16": np.array([-32768, 5], np.int16),
    "uint16": np.array([65535, 5], np.uint16),
    "int32": np.array([[-(2**31)], [5]], np.int32),
    "int64": np.array([2**62, -1]),
    "uint32": np.array([2**32 - 1, 1], np.uint32),
    "uint64": np.array([2**64 - 1, 1], np.uint64),
    "bool": np.array([True, False]),
    "bfloat16": np.array([0.5, -2], ml_dtypes.bfloat16),
    "string": np.array([b"\xff\x00", b"", b"text"], np.object_),
    "complex64": np.array([1 + 2j, 3 - 4j], np.complex64),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(7),
}


@pytest.mark.parametrize("name", ECHOES)
def test_every_dtype_comes_back_as_it_went_by_content_and_by_values(engine: Engine, name: str) -> None:
    import tensorflow as tf

    array = ECHOES[name]
    signature = "echo_float32" if name in ("empty", "scalar") else f"echo_{name}"
    answer = engine.predict(signature=signature, t=array).outputs["t"]
    assert answer.tensor_content == b""
    np.testing.assert_array_equal(tf.make_ndarray(answer), array)
    # What came back is the typed form, so sending it again covers the other way of writing a tensor.
    again = engine.predict(signature=signature, t=answer).outputs["t"]
    assert again == answer or name == "float64", "NaN differs from itself"


def test_too_few_values_repeat_the_last_and_huge_claims_are_refused(engine: Engine) -> None:
    from tensorflow.core.framework import tensor_pb2

    proto: Any = tensor_pb2.TensorProto(dtype=1, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=4)
    assert list(engine.predict(signature="echo_float32", t=proto).outputs["t"].float_val) == [1, 2, 2, 2]
    for size in (1 << 40, -1):
        proto.tensor_shape.dim[0].size = size
        message = failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predict(signature="echo_float32", t=proto))
        assert message == "tensor parsing error: t"
    # Every string of the padding is as long as the last.
    text: Any = tensor_pb2.TensorProto(dtype=7, string_val=[b"x" * 100_000])
    text.tensor_shape.dim.add(size=1000)
    message = failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predict(signature="echo_string", t=text))
    assert message == "tensor parsing error: t"


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("dtype", grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"),
        ("rank", grpc.StatusCode.INVALID_ARGUMENT, 'Input "x" expects shape [-1,2], received [2]'),
        ("dimension", grpc.StatusCode.INVALID_ARGUMENT, 'Input "x" expects shape [-1,2], received [1,3]'),
        ("model", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        ("version", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(calc, 9)"),
        ("label", grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: canary"),
        ("signature", grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "nope" not found.'),
        (
            "filter",
            grpc.StatusCode.INVALID_ARGUMENT,
            "output tensor alias not found in signature: nope Outputs expected",
        ),
        ("nameless", grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("specless", grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            "inputless",
            grpc.StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x})",
        ),
    ],
)
def test_errors_are_the_originals(engine: Engine, case: str, code: grpc.StatusCode, message: str) -> None:
    good = predict_request("calc", "", x=np.zeros((1, 2), np.float32))
    changes: dict[str, Callable[[], Any]] = {
        "dtype": lambda: good.inputs["x"].CopyFrom(content(np.zeros((1, 2), np.int32))),
        "rank": lambda: good.inputs["x"].CopyFrom(content(np.zeros(2, np.float32))),
        "dimension": lambda: good.inputs["x"].CopyFrom(content(np.zeros((1, 3), np.float32))),
        "model": lambda: setattr(good.model_spec, "name", "nope"),
        "version": lambda: setattr(good.model_spec.version, "value", 9),
        "label": lambda: setattr(good.model_spec, "version_label", "canary"),
        "signature": lambda: setattr(good.model_spec, "signature_name", "nope"),
        "filter": lambda: good.output_filter.append("nope"),
        "nameless": lambda: setattr(good.model_spec, "name", ""),
        "specless": lambda: good.ClearField("model_spec"),
        "inputless": lambda: good.inputs.clear(),
    }
    changes[case]()
    assert failure(code, lambda: engine.predictions.Predict(good, timeout=WAIT_S)).startswith(message)


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x80", b"garbage"])
def test_bytes_a_model_cannot_parse_are_the_clients_fault(engine: Engine, garbage: bytes) -> None:
    examples = np.array([garbage], np.object_)
    failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predict(signature="parse", examples=examples))


def test_metadata_shows_the_signatures(engine: Engine) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request: Any = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "calc"
    message = failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predictions.GetModelMetadata(request))
    assert message == "GetModelMetadataRequest must specify at least one metadata_field"
    request.metadata_field.append("signature_def")
    answer = engine.predictions.GetModelMetadata(request)
    signatures: Any = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert answer.model_spec.version.value == 1
    assert [dim.size for dim in signatures.signature_def["serving_default"].inputs["x"].tensor_shape.dim] == [-1, 2]
    status, kind, body = engine.get("/v1/models/calc/metadata")
    told = json.loads(body)
    assert (status, kind, told["model_spec"]["version"]) == (200, "application/json", "1")
    # The signatures alone: not the Any message that carries them over gRPC, with its "@type".
    assert told["metadata"].keys() == {"signature_def"}
    assert told["metadata"]["signature_def"].keys() == {"signature_def"}
    assert told["metadata"]["signature_def"]["signature_def"]["slow"]["inputs"]["steps"]["dtype"] == "DT_INT32"
