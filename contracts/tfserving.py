"""TensorFlow Serving's names, numbers and messages."""

from dataclasses import dataclass
from typing import Any

from contracts.descriptors import Package, load_pool

PREDICT_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

# tensorflow.DataType, tensorflow/core/framework/types.proto
DATATYPE_NUMBERS = {
    "FP32": 1,
    "FP64": 2,
    "BYTES": 7,
    "BF16": 14,
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

# The field of tensorflow.TensorProto that holds a datatype's values; half_val holds the bits of both.
VALUE_FIELDS = {
    "FP16": "half_val",
    "BF16": "half_val",
    "BYTES": "string_val",
    "FP32": "float_val",
    "FP64": "double_val",
    "INT8": "int_val",
    "INT16": "int_val",
    "INT32": "int_val",
    "UINT8": "int_val",
    "UINT16": "int_val",
    "INT64": "int64_val",
    "BOOL": "bool_val",
    "UINT32": "uint32_val",
    "UINT64": "uint64_val",
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
    GetModelMetadataRequest: Any
    GetModelMetadataResponse: Any
    SignatureDefMap: Any
    GetModelStatusRequest: Any
    GetModelStatusResponse: Any
    ReloadConfigRequest: Any
    ReloadConfigResponse: Any
    TensorProto: Any
    SavedModel: Any


_TENSORFLOW = ("TensorProto", "SavedModel")


def load_messages(pool: Any = None) -> Messages:
    """The message classes of `contracts.descriptors.load_pool`, a fresh one unless it is given."""
    pool = load_pool() if pool is None else pool
    serving, tensorflow = Package(pool, "tensorflow.serving"), Package(pool, "tensorflow")
    names = Messages.__annotations__
    return Messages(**{name: getattr(tensorflow if name in _TENSORFLOW else serving, name) for name in names})
