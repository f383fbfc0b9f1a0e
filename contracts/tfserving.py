"""TensorFlow Serving's messages, in a descriptor pool of their own.

The classes are made from `protos/tensorflow_serving.binpb`, so a process that also holds the official
tensorflow-serving-api package (tests do) keeps both definitions apart.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

# tensorflow.DataType, tensorflow/core/framework/types.proto
DATATYPE_NUMBERS = {
    "FP32": 1,
    "FP64": 2,
    "INT32": 3,
    "UINT8": 4,
    "INT16": 5,
    "INT8": 6,
    "INT64": 9,
    "BOOL": 10,
    "UINT16": 17,
    "FP16": 19,
    "UINT32": 22,
    "UINT64": 23,
}

# ModelVersionStatus.State
LOADING_STATES = (10, 20)
AVAILABLE_STATE = 30
END_STATE = 50


@dataclass(frozen=True)
class Messages:
    """Message classes by the name TensorFlow Serving gives them; made at run time, hence untyped."""

    PredictRequest: Any
    PredictResponse: Any
    TensorProto: Any
    GetModelStatusRequest: Any
    GetModelStatusResponse: Any
    ReloadConfigRequest: Any
    ReloadConfigResponse: Any


def load_messages() -> Messages:
    """Build the message classes in a fresh descriptor pool."""
    described = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("contracts.protos") / "tensorflow_serving.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)

    def message(full_name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))

    serving = {
        name: message(f"tensorflow.serving.{name}") for name in Messages.__annotations__ if name != "TensorProto"
    }
    return Messages(**serving, TensorProto=message("tensorflow.TensorProto"))
