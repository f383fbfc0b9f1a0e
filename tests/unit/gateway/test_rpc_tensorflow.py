"""TensorFlow Serving's services over gRPC: what is answered, and in whose words it is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from contracts.tfserving import DATATYPE_NUMBERS
from gateway.core.errors import InvalidRequest
from gateway.core.router import Canary, ModelRoute, Router, RoutingTable, VersionRoute
from gateway.core.tensors import DTYPES, Signature, TensorSpec
from gateway.protocols.rpc.tf_tensors import decode_tensor, encode_tensor
from gateway.protocols.tfserving_rules import ModelSpec, resolve
from tests.unit.gateway.adder import ADDER
from tests.unit.gateway.rpc import PREDICT, TENSORFLOW, RpcClient, predict_request, rpc_client
from tests.unit.gateway.served import Served, serving

METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
AVAILABLE = 30


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tensorflow")) as served:
        yield served


@pytest.fixture(scope="module")
def client(shared: Served) -> Iterator[RpcClient]:
    with rpc_client(shared.grpc_target) as client:
        yield client


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ({}, 2),
        ({"version": 1}, 1),
        ({"label": "live"}, 2),
        ({"label": "stable"}, 2),
        ({"signature": "serving_default"}, 2),
    ],
)
def test_predict(client: RpcClient, spec: dict[str, Any], version: int) -> None:
    outcome = client.call(PREDICT, predict_request(rows=2, **spec), {"x-engine": "tfserving"})
    assert outcome.code is grpc.StatusCode.OK, outcome
    response = TENSORFLOW.PredictResponse.FromString(outcome.message)
    told = response.model_spec
    assert (told.name, told.version.value, told.signature_name) == ("adder", version, "serving_default")
    assert list(response.outputs["sum"].float_val) == [2, 4, 2, 4], "typed values, which its clients read"
    assert [dim.size for dim in response.outputs["sum"].tensor_shape.dim] == [2, 2]
    said = [outcome.trailing[f"x-{name}"] for name in ("engine", "model-version")]
    assert said == ["tfserving", str(version)]


def test_no_rows_are_answered_with_none(client: RpcClient) -> None:
    response = TENSORFLOW.PredictResponse.FromString(client.call(PREDICT, predict_request(rows=0)).message)
    assert [dim.size for dim in response.outputs["sum"].tensor_shape.dim] == [0, 2]
    assert not response.outputs["sum"].float_val


def changed(**change: Any) -> Any:
    """A good PredictRequest with one thing changed."""
    request = predict_request()
    tensor = request.inputs["a"]
    match change:
        case {"shape": shape}:
            del tensor.tensor_shape.dim[:]
            for size in shape:
                tensor.tensor_shape.dim.add().size = size
        case {"dtype": dtype}:
            tensor.dtype = dtype
        case {"content": content}:
            tensor.tensor_content = content
        case {"unknown_rank": value}:
            tensor.tensor_shape.unknown_rank = value
        case {"also": name}:
            request.inputs[name].CopyFrom(tensor)
        case {"renamed": name}:
            request.inputs[name].CopyFrom(tensor)
            del request.inputs["a"]
        case {"outputs": names}:
            request.output_filter.extend(names)
        case {"value": value}:
            tensor.float_val[0] = value
    return request


def without_model() -> Any:
    request = predict_request()
    request.ClearField("model_spec")
    return request


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (without_model(), INVALID, "Missing ModelSpec"),
        (predict_request(name=""), INVALID, "ModelSpec has no name specified."),
        (predict_request(name="nobody"), NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        (predict_request(version=7), NOT_FOUND, "Servable not found for request: Specific(adder, 7)"),
        (predict_request(version=-1), NOT_FOUND, "Servable not found for request: Specific(adder, -1)"),
        (predict_request(label="canary"), INVALID, "Unrecognized servable version label: canary"),
        (
            predict_request(signature="other"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "other" not found.',
        ),
        (
            changed(also="b"),
            INVALID,
            "input size does not match signature: 2!=1 len({a,b}) != len({a}). Sent extra: {b}. "
            "Missing but required: {}.",
        ),
        (
            changed(renamed="b"),
            INVALID,
            "Signature input alias: a(feed name: serving_default_a:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {b}, or default input alias set: ",
        ),
        (changed(dtype=0), INVALID, "tensor parsing error: a"),
        (changed(dtype=99), INVALID, "tensor parsing error: a"),
        (changed(content=b"xyz"), INVALID, "tensor parsing error: a"),
        (changed(unknown_rank=True), INVALID, "tensor parsing error: a"),
        (changed(shape=[-1, 2]), INVALID, "tensor parsing error: a"),
        (changed(shape=[2**40, 2]), INVALID, "tensor parsing error: a"),
        (changed(dtype=3), INVALID, "Expects arg[0] to be float but int32 is provided"),
        (changed(dtype=7), INVALID, "Expects arg[0] to be float but string is provided"),
        (changed(shape=[2]), INVALID, 'Input "a" expects shape [-1,2], received [2]'),
        (changed(shape=[1, 3]), INVALID, 'Input "a" expects shape [-1,2], received [1,3]'),
        (
            changed(outputs=["y"]),
            INVALID,
            "output tensor alias not found in signature: y Outputs expected to be in the set {sum}.",
        ),
        (changed(outputs=["sum", "sum"]), INVALID, "duplicate output tensor alias: sum"),
        (changed(value=13), INVALID, "no thirteens"),
    ],
)
def test_predict_refuses_in_its_words(client: RpcClient, request_: Any, code: Any, said: str) -> None:
    outcome = client.call(PREDICT, request_)
    assert outcome.code is code, outcome
    assert outcome.said == said or "no thirteens" in outcome.said


def test_an_output_filter(client: RpcClient) -> None:
    response = TENSORFLOW.PredictResponse.FromString(client.call(PREDICT, changed(outputs=["sum"])).message)
    assert set(response.outputs) == {"sum"}


# -- metadata and status


def metadata_request(*fields: str, name: str = "adder", version: int | None = None) -> Any:
    request = TENSORFLOW.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return request


def signatures_told(client: RpcClient, request: Any) -> Any:
    response = TENSORFLOW.GetModelMetadataResponse.FromString(client.call(METADATA, request).message)
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    return response.model_spec, TENSORFLOW.SignatureDefMap.FromString(packed.value).signature_def


def test_metadata_follows_from_the_signature_where_there_is_no_saved_model(client: RpcClient) -> None:
    spec, signatures = signatures_told(client, metadata_request("signature_def"))
    assert (spec.name, spec.version.value) == ("adder", 2)
    default = signatures["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    [(name, info)] = default.inputs.items()
    assert (name, info.name, info.dtype) == ("a", "serving_default_a:0", 1)
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 2]


def test_metadata_is_the_saved_models_where_there_is_one(tmp_path: Path) -> None:
    with serving(tmp_path) as served, rpc_client(served.grpc_target) as client:
        saved = TENSORFLOW.SavedModel()
        saved.meta_graphs.add().signature_def["other"].method_name = "m"
        (tmp_path / "adder" / "1" / "saved_model.pb").write_bytes(saved.SerializeToString())
        (tmp_path / "adder" / "2" / "saved_model.pb").write_bytes(b"\xff\xff no graph")
        _, signatures = signatures_told(client, metadata_request("signature_def", version=1))
        assert {name: signature.method_name for name, signature in signatures.items()} == {"other": "m"}
        _, signatures = signatures_told(client, metadata_request("signature_def", version=2))
        assert set(signatures) == {"serving_default"}, "what cannot be read is derived"


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (metadata_request(), INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
        (metadata_request("labels"), INVALID, "Metadata field labels is not supported"),
        (metadata_request("signature_def", name=""), INVALID, "ModelSpec has no name specified."),
        (metadata_request("signature_def", name="nobody"), NOT_FOUND, "Servable not found for request: Latest(nobody)"),
        (
            metadata_request("signature_def", version=9),
            NOT_FOUND,
            "Servable not found for request: Specific(adder, 9)",
        ),
        (TENSORFLOW.GetModelMetadataRequest(), INVALID, "Missing ModelSpec"),
    ],
)
def test_metadata_refuses_in_its_words(client: RpcClient, request_: Any, code: Any, said: str) -> None:
    outcome = client.call(METADATA, request_)
    assert (outcome.code, outcome.said) == (code, said)


def status_request(name: str, version: int | None = None, label: str | None = None) -> Any:
    request = TENSORFLOW.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def test_status(client: RpcClient) -> None:
    def told(request: Any) -> list[tuple[int, int, int]]:
        response = TENSORFLOW.GetModelStatusResponse.FromString(client.call(STATUS, request).message)
        return [(s.version, s.state, s.status.error_code) for s in response.model_version_status]

    assert told(status_request("adder")) == [(2, AVAILABLE, 0), (1, AVAILABLE, 0)]
    assert told(status_request("adder", version=1)) == [(1, AVAILABLE, 0)]
    assert told(status_request("adder", label="anything")) == [(2, AVAILABLE, 0), (1, AVAILABLE, 0)]


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (status_request("nobody"), NOT_FOUND, "Could not find any versions of model nobody"),
        (status_request("adder", version=9), NOT_FOUND, "Could not find version 9 of model adder"),
        (TENSORFLOW.GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
    ],
)
def test_status_refuses_in_its_words(client: RpcClient, request_: Any, code: Any, said: str) -> None:
    outcome = client.call(STATUS, request_)
    assert (outcome.code, outcome.said) == (code, said)


# -- labels and tensors, by themselves


def test_labels_follow_a_rollout() -> None:
    router = Router(("torchserve",))
    routes = {number: VersionRoute(number, ADDER, None, {}) for number in (1, 2)}

    def at_share(share: float) -> None:
        canary = Canary(2, share, "salt")
        router.assign(RoutingTable(("torchserve",), {"adder": ModelRoute("adder", 1, {}, routes, canary)}), now=0)

    at_share(0.1)
    labels = {label: resolve(router, ModelSpec("adder", label=label)) for label in ("live", "stable", "canary")}
    assert labels == {"live": 1, "stable": 1, "canary": 2}
    at_share(0.0)
    with pytest.raises(InvalidRequest, match="Unrecognized servable version label: canary"):
        resolve(router, ModelSpec("adder", label="canary"))


@pytest.mark.parametrize("datatype", sorted(DTYPES.keys() - {"BYTES"}))
def test_tensors_come_and_go(datatype: str) -> None:
    tensor = np.array([[1, 0, 1]]).astype("<u2" if datatype == "BF16" else DTYPES[datatype]).view(DTYPES[datatype])
    proto = TENSORFLOW.TensorProto()
    encode_tensor(proto, tensor)
    assert proto.dtype == DATATYPE_NUMBERS[datatype]
    assert not proto.tensor_content
    read = decode_tensor("x", TENSORFLOW.TensorProto.FromString(proto.SerializeToString()))
    assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
    assert read.tobytes() == tensor.tobytes()
    as_content = TENSORFLOW.TensorProto(dtype=proto.dtype, tensor_shape=proto.tensor_shape)
    as_content.tensor_content = tensor.tobytes()
    assert decode_tensor("x", as_content).tobytes() == tensor.tobytes()


@pytest.mark.parametrize(("values", "expected"), [([], [0, 0, 0]), ([5], [5, 5, 5]), ([1, 2], [1, 2, 2])])
def test_values_that_are_left_out_are_the_last_one(values: list[float], expected: list[float]) -> None:
    proto = TENSORFLOW.TensorProto(dtype=1, float_val=values)
    proto.tensor_shape.dim.add().size = 3
    assert decode_tensor("x", proto).tolist() == expected


def strings(sizes: tuple[int, ...], *values: bytes, content: bytes = b"") -> Any:
    proto = TENSORFLOW.TensorProto(dtype=DATATYPE_NUMBERS["BYTES"], string_val=values, tensor_content=content)
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


def test_strings_come_and_go() -> None:
    tensor = decode_tensor("x", strings((2, 2), b"", b"\0\xff", b"c"))
    assert tensor.tolist() == [[b"", b"\0\xff"], [b"c", b"c"]]
    proto = TENSORFLOW.TensorProto()
    encode_tensor(proto, tensor)
    assert (proto.dtype, list(proto.string_val)) == (DATATYPE_NUMBERS["BYTES"], [b"", b"\0\xff", b"c", b"c"])
    assert decode_tensor("x", strings((3,))).tolist() == [b"", b"", b""]
    assert decode_tensor("x", strings((1,), b"a", b"b")).tolist() == [b"a"]
    assert decode_tensor("x", strings((0, 2), b"a")).shape == (0, 2)


@pytest.mark.parametrize(
    "proto",
    [
        strings((2**40,)),
        strings((1000,), b"x" * 100_000),  # every string of the padding is as long as the last
        strings((1,), content=b"\1x"),
    ],
)
def test_strings_that_would_be_too_many(proto: Any) -> None:
    with pytest.raises(InvalidRequest, match="tensor parsing error: x"):
        decode_tensor("x", proto)


def test_narrow_numbers_wrap() -> None:
    proto = TENSORFLOW.TensorProto(dtype=DATATYPE_NUMBERS["INT8"], int_val=[257])
    proto.tensor_shape.dim.add().size = 1
    assert decode_tensor("x", proto).tolist() == [1]


def test_a_signature_with_free_outputs_answers_no_empty_request() -> None:
    free = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, -1)),))
    assert free.answer_without_rows() is None
    assert ADDER.answer_without_rows() is not None
