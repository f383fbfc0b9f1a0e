"""Runs the requests a version brings along before anybody else may ask it.

`assets.extra/tf_serving_warmup_requests`: a TFRecord file of PredictionLog messages. Facts:
tensorflow_serving/servables/tensorflow/saved_model_warmup.cc.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from workers.tf.embedded.classification import CLASSIFY, REGRESS
from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.example_inference import ExampleInference
from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.prediction import Prediction
from workers.tf.embedded.savedmodel import Model

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000
_NO_DEADLINE = Deadline.after(None)


@dataclass(frozen=True)
class Warmup:
    """Warms a version through the same use cases that serve it; each request `iterations` times."""

    prediction: Prediction
    examples: ExampleInference
    metrics: Metrics
    iterations: int = 1

    def run(self, model: Model, path: Path) -> None:
        """Run the requests found under the version directory `path`, if any. Raises Fault when one fails."""
        file = path / _FILE
        if not file.is_file():
            return
        started_s = time.monotonic()
        code = Code.OK
        try:
            for record in _records(file):
                for _ in range(max(1, self.iterations)):
                    self._answer(model, record)
        except Fault as fault:
            code = fault.code
            raise
        finally:
            self.metrics.warmup_latency.observe((time.monotonic() - started_s) * 1e6, str(path), code.name)

    def _answer(self, model: Model, record: Any) -> None:
        match record.WhichOneof("log_type"):
            case "predict_log":
                self.prediction.predict_with(model, record.predict_log.request, _NO_DEADLINE)
            case "classify_log":
                self.examples.run_with(CLASSIFY, model, record.classify_log.request, _NO_DEADLINE)
            case "regress_log":
                self.examples.run_with(REGRESS, model, record.regress_log.request, _NO_DEADLINE)
            case "multi_inference_log":
                self.examples.multi_infer_with(model, record.multi_inference_log.request, _NO_DEADLINE)
            case None:
                pass
            case kind:
                raise Fault(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _records(file: Path) -> list[Any]:
    try:
        records = list(tf.compat.v1.io.tf_record_iterator(str(file)))
        if len(records) > _MAX_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum of {_MAX_RECORDS}: {file}")
        return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    except tf.errors.OpError as error:
        raise Fault(Code(error.error_code), f"{file}: {error.message}") from error
    except DecodeError as error:
        raise invalid(f"Failed to parse warmup record from {file}: {error}") from error
