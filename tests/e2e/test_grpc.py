"""The gateway's gRPC port on real engines, with the clients that people have."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from tests.platform_process import Platform
from tests.served_platform import ServedPlatform
from tests.traffic import infer_binary
from workers.mnist import Split

pytestmark = pytest.mark.engines

ENGINES = ("torchserve", "tfserving")


def target(platform: ServedPlatform) -> str:
    return platform.grpc_address


@pytest.mark.parametrize("engine", ENGINES)
def test_digits_by_grpc_are_digits_by_http(platform: ServedPlatform, mnist_test: Split, engine: str) -> None:
    import tritonclient.grpc as triton

    images = mnist_test.images[:500]
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    with triton.InferenceServerClient(target(platform)) as client:
        before = client.get_inference_statistics("mnist", "2").model_stats[0]
        result = client.infer("mnist", [tensor], model_version="2", headers={"x-engine": engine}, request_id="e2e")
        after = client.get_inference_statistics("mnist", "2").model_stats[0]
    logits = result.as_numpy("logits")
    assert result.get_response().id == "e2e"
    assert (logits.argmax(axis=1) == mnist_test.labels[:500]).mean() > 0.97
    by_http = infer_binary(f"{platform.url}/v2/models/mnist/versions/2/infer", images, engine)
    np.testing.assert_allclose(logits, by_http, atol=1e-4)
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_count - before.inference_count == 500
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns


def test_typed_contents_are_answered_as_such(platform: ServedPlatform, mnist_test: Split) -> None:
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="mnist")
    tensor = request.inputs.add(name="images", datatype="FP32", shape=[2, 28, 28])
    tensor.contents.fp32_contents.extend(mnist_test.images[:2].ravel().tolist())
    with grpc.insecure_channel(target(platform)) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
    logits = np.array(response.outputs[0].contents.fp32_contents).reshape(response.outputs[0].shape)
    assert not response.raw_output_contents
    assert logits.argmax(axis=1).tolist() == mnist_test.labels[:2].tolist()


# -- TensorFlow Serving's own client: the gateway and the engine, asked the same


def predict(images: Any, change: Callable[[Any], None] = lambda _: None, **spec: Any) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = spec.get("name", "mnist")
    request.model_spec.signature_name = spec.get("signature", "")
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    change(request)
    return request


def ask(channel: grpc.Channel, call: str, request: Any) -> tuple[grpc.StatusCode, str, Any]:
    """Code, message and answer of a call of the official stubs."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    has_call = call == "GetModelStatus"
    stubs = model_service_pb2_grpc.ModelServiceStub if has_call else prediction_service_pb2_grpc.PredictionServiceStub
    try:
        # By the gateway, which may choose, the same engine is asked; the engine itself passes the word over.
        answer = getattr(stubs(channel), call)(request, timeout=30, metadata=(("x-engine", "tfserving"),))
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code(), failed.details(), None
    return grpc.StatusCode.OK, "", answer


def rename(request: Any) -> None:
    request.inputs["pictures"].CopyFrom(request.inputs["images"])
    del request.inputs["images"]


def shared_cases(images: Any) -> list[tuple[str, Any]]:
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    def metadata(*fields: str, name: str = "mnist", version: int = 0) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = name
        if version:
            request.model_spec.version.value = version
        return request

    def status(name: str, version: int = 0) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version:
            request.model_spec.version.value = version
        return request

    def spoil(request: Any) -> None:
        request.inputs["images"].tensor_content = b"abc"

    requests_by_call: dict[str, list[Any]] = {
        "Predict": [
            predict(images),
            predict(images, version=1),
            predict(images[:0]),
            predict(images, signature="serving_default"),
            predict(images, lambda request: request.output_filter.append("logits")),
            predict(images, version=9),
            predict(images, name="nobody"),
            predict(images, name=""),
            predict(images, label="nonsense"),
            predict(images, signature="other"),
            predict(images, rename),
            predict(images, lambda request: request.inputs["more"].CopyFrom(request.inputs["images"])),
            predict(images, spoil),
            predict(images, lambda request: request.output_filter.append("y")),
            predict(images, lambda request: request.output_filter.extend(["logits", "logits"])),
            predict(images.astype(np.int32)),
            predict(images.astype(np.float64)),
            predict([b"text"]),
            predict([["text"] * 28] * 28),
            predict(images.reshape(-1, 784)),
            predict("a scalar"),
            predict_pb2.PredictRequest(),
        ],
        "GetModelMetadata": [
            metadata("signature_def", version=1),
            metadata(),
            metadata("labels"),
            metadata("signature_def", name="nobody"),
            metadata("signature_def", version=9),
            get_model_metadata_pb2.GetModelMetadataRequest(),
        ],
        "GetModelStatus": [
            status("mnist", 2),
            status("nobody"),
            status("mnist", 9),
            get_model_status_pb2.GetModelStatusRequest(),
        ],
    }
    return [(call, request) for call, asked in requests_by_call.items() for request in asked]


@pytest.mark.only_on("up", "engines in containers are out of a client's reach")
def test_tensorflow_servings_client_cannot_tell_the_gateway_from_the_engine(
    platform: Platform, mnist_test: Split
) -> None:
    import tensorflow as tf

    engine = f"127.0.0.1:{platform.ports.tfserving_grpc}"
    with grpc.insecure_channel(target(platform)) as ours, grpc.insecure_channel(engine) as theirs:
        for call, request in shared_cases(mnist_test.images[:3]):
            mine, yours = ask(ours, call, request), ask(theirs, call, request)
            what = f"{call} {str(request)[:200]}\ngateway {mine}\nengine  {yours}"
            assert mine[:2] == yours[:2], what
            if call == "Predict" and mine[2] is not None:
                assert mine[2].model_spec == yours[2].model_spec, what
                by_gateway, by_engine = (tf.make_ndarray(answer.outputs["logits"]) for answer in (mine[2], yours[2]))
                np.testing.assert_allclose(by_gateway, by_engine, atol=1e-5)
            elif call == "GetModelMetadata" and mine[2] is not None:
                assert mine[2].model_spec == yours[2].model_spec, what
                assert signatures_in(mine[2]) == signatures_in(yours[2]), what
            else:
                assert mine[2] == yours[2], what


def signatures_in(answer: Any) -> dict[str, Any]:
    """What the metadata's bytes mean: the map in them is written in any order."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    found = {}
    for field, packed in answer.metadata.items():
        found[field] = get_model_metadata_pb2.SignatureDefMap()
        assert packed.Unpack(found[field])
    return found


def test_labels_are_the_rollouts(platform: ServedPlatform, mnist_test: Split) -> None:
    with grpc.insecure_channel(target(platform)) as channel:
        for label in ("live", "stable"):
            code, said, answer = ask(channel, "Predict", predict(mnist_test.images[:1], label=label))
            assert (code, said, answer.model_spec.version.value) == (grpc.StatusCode.OK, "", 2)
