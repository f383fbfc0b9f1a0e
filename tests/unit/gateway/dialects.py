"""Every dialect as one function: a tensor and what is asked of it in, the answer's tensor or the kind of fault out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as blobs

from tests.unit.gateway.rpc import INFER, INFERENCE, PREDICT, TENSORFLOW, Outcome, rpc_client
from tests.unit.gateway.served import Served

Array = NDArray[Any]
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {np.dtype(np.float32): ("FP32", 1), np.dtype(np.float64): ("FP64", 2)}

# The same fault, by the code that each transport has for it.
HTTP = {200: "ok", 400: "invalid", 404: "missing", 413: "too large", 503: "unavailable", 504: "late"}
GRPC = {
    "OK": "ok",
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "missing",
    "RESOURCE_EXHAUSTED": "too large",
    "UNAVAILABLE": "unavailable",
    "DEADLINE_EXCEEDED": "late",
}


@dataclass(frozen=True)
class Ask:
    """What a client wants."""

    tensor: Array
    model: str = "adder"
    version: int | None = None
    name: str = "a"
    engine: str | None = None


@dataclass(frozen=True)
class Said:
    """What came back: the kind of fault or "ok", the tensor, the message, and who answered."""

    kind: str
    tensor: Array | None = None
    message: str = ""
    engine: str | None = None


Speak = Callable[[Served, Ask], Said]


def post(served: Served, path: str, ask: Ask, read: Callable[[Any], Any], headers: Any = None, **body: Any) -> Said:
    named = {} if ask.engine is None else {"X-Engine": ask.engine}
    response = served.client.post(path, headers={**named, **(headers or {})}, **body)
    kind = HTTP[response.status_code]
    if kind != "ok":
        document = response.json()
        return Said(kind, None, document.get("error") or document["message"])
    return Said(kind, np.asarray(read(response), np.float32), "", response.headers.get("X-Engine"))


def oip_path(ask: Ask) -> str:
    return f"/v2/models/{ask.model}" + ("" if ask.version is None else f"/versions/{ask.version}") + "/infer"


def oip_json(served: Served, ask: Ask) -> Said:
    document = {"inputs": [described(ask) | {"data": ask.tensor.tolist()}]}

    def read(response: Any) -> Any:
        [output] = response.json()["outputs"]
        return np.array(output["data"]).reshape(output["shape"])

    return post(served, oip_path(ask), ask, read, json=document)


def oip_binary(served: Served, ask: Ask) -> Said:
    item = described(ask) | {"parameters": {"binary_data_size": ask.tensor.nbytes}}
    head = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()

    def read(response: Any) -> Any:
        end = int(response.headers[HEADER_LENGTH])
        [output] = json.loads(response.content[:end])["outputs"]
        return np.frombuffer(response.content[end:], np.float32).reshape(output["shape"])

    headers = {HEADER_LENGTH: str(len(head))}
    return post(served, oip_path(ask), ask, read, headers, content=head + ask.tensor.tobytes())


def described(ask: Ask) -> dict[str, Any]:
    return {"name": ask.name, "datatype": DATATYPES[ask.tensor.dtype][0], "shape": list(ask.tensor.shape)}


def tfserving_path(ask: Ask) -> str:
    return f"/v1/models/{ask.model}" + ("" if ask.version is None else f"/versions/{ask.version}") + ":predict"


def tfserving_rows(served: Served, ask: Ask) -> Said:
    rows = [{ask.name: row} for row in ask.tensor.tolist()]
    return post(served, tfserving_path(ask), ask, lambda r: r.json()["predictions"], json={"instances": rows})


def tfserving_columns(served: Served, ask: Ask) -> Said:
    body = {"inputs": {ask.name: ask.tensor.tolist()}}
    return post(served, tfserving_path(ask), ask, lambda r: r.json()["outputs"], json=body)


def torchserve_path(ask: Ask) -> str:
    return f"/predictions/{ask.model}" + ("" if ask.version is None else f"/{ask.version}")


def torchserve_json(served: Served, ask: Ask) -> Said:
    return post(served, torchserve_path(ask), ask, lambda r: r.json(), json={ask.name: ask.tensor.tolist()})


def torchserve_blob(served: Served, ask: Ask) -> Said:
    blob = blobs.save({ask.name: ask.tensor})
    return post(served, torchserve_path(ask), ask, lambda r: blobs.load(r.content)["sum"], content=blob)


def call(served: Served, path: str, message: Any, ask: Ask, read: Callable[[bytes], Any]) -> Said:
    metadata = {} if ask.engine is None else {"x-engine": ask.engine}
    with rpc_client(served.grpc_target) as client:
        outcome: Outcome = client.call(path, message, metadata)
    kind = GRPC[outcome.code.name]
    if kind != "ok":
        return Said(kind, None, outcome.said)
    return Said(kind, np.asarray(read(outcome.message), np.float32), "", outcome.trailing.get("x-engine"))


def oip_grpc(served: Served, ask: Ask, is_raw: bool) -> Said:
    version = "" if ask.version is None else str(ask.version)
    request = INFERENCE.ModelInferRequest(model_name=ask.model, model_version=version)
    item = request.inputs.add(**described(ask))
    if is_raw:
        request.raw_input_contents.append(ask.tensor.tobytes())
    else:
        field = "fp64_contents" if ask.tensor.dtype == np.float64 else "fp32_contents"
        item.contents.SetInParent()
        getattr(item.contents, field).extend(ask.tensor.ravel().tolist())

    def read(message: bytes) -> Any:
        response = INFERENCE.ModelInferResponse.FromString(message)
        [output] = response.outputs
        flat = np.frombuffer(response.raw_output_contents[0], np.float32) if is_raw else output.contents.fp32_contents
        return np.asarray(flat).reshape(tuple(output.shape))

    return call(served, INFER, request, ask, read)


def tfserving_grpc(served: Served, ask: Ask) -> Said:
    request = TENSORFLOW.PredictRequest()
    request.model_spec.name = ask.model
    if ask.version is not None:
        request.model_spec.version.value = ask.version
    proto = request.inputs[ask.name]
    proto.dtype = DATATYPES[ask.tensor.dtype][1]
    proto.tensor_content = ask.tensor.tobytes()
    proto.tensor_shape.SetInParent()
    for size in ask.tensor.shape:
        proto.tensor_shape.dim.add().size = size

    def read(message: bytes) -> Any:
        output = TENSORFLOW.PredictResponse.FromString(message).outputs["sum"]
        return np.array(output.float_val).reshape([dim.size for dim in output.tensor_shape.dim])

    return call(served, PREDICT, request, ask, read)


DIALECTS: Mapping[str, Speak] = {
    "OIP JSON": oip_json,
    "OIP binary": oip_binary,
    "OIP gRPC raw": lambda served, ask: oip_grpc(served, ask, is_raw=True),
    "OIP gRPC typed": lambda served, ask: oip_grpc(served, ask, is_raw=False),
    "TF Serving rows": tfserving_rows,
    "TF Serving columns": tfserving_columns,
    "TF Serving gRPC": tfserving_grpc,
    "TorchServe JSON": torchserve_json,
    "TorchServe blob": torchserve_blob,
}
UNTYPED = {"TF Serving rows", "TF Serving columns", "TorchServe JSON"}
"""Dialects in which a number has no type until the model's signature gives it one."""
