"""One question, and answers to it as each protocol has them."""

import json
from collections.abc import Mapping

import numpy as np

from contracts.descriptors import Package, load_pool
from contracts.oip_bodies import HEADER_LENGTH, Array, encode_request
from loadtest.scenarios.questions import Question

_generator = np.random.default_rng(5)
IMAGE: Array = (_generator.integers(0, 256, (1, 28, 28)) / 255).astype(np.float32)
LOGITS: Mapping[int, Array] = {v: _generator.normal(0, 5, (1, 10)).astype(np.float32) for v in (1, 2)}
LABEL = int(LOGITS[2].argmax())
QUESTION = Question({"images": IMAGE}, LABEL, {v: {"logits": logits} for v, logits in LOGITS.items()})
WHO = {"x-model-version": "2", "x-engine": "tfserving"}


def binary_answer(logits: Array) -> tuple[bytes, dict[str, str]]:
    body, headers = encode_request({"logits": logits})
    end = int(headers[HEADER_LENGTH])
    described = json.loads(body[:end])["inputs"]
    header = json.dumps({"model_name": "mnist", "model_version": "2", "outputs": described}).encode()
    return header + body[end:], WHO | {HEADER_LENGTH.lower(): str(len(header))}


def json_answer(logits: Array) -> tuple[bytes, dict[str, str]]:
    output = {"name": "logits", "datatype": "FP32", "shape": [1, 10], "data": logits.ravel().tolist()}
    return json.dumps({"model_name": "mnist", "model_version": "2", "outputs": [output]}).encode(), WHO


def image_answer(logits: Array) -> tuple[bytes, dict[str, str]]:
    shifted = np.exp(logits - logits.max())
    scores = (shifted / shifted.sum())[0].tolist()
    best = int(logits.argmax())
    prediction = {"label": str(best), "score": scores[best], "scores": scores}
    document = {"model": "mnist", "version": 2, "engine": "tfserving", "predictions": [prediction]}
    return json.dumps(document).encode(), WHO


def grpc_answer(logits: Array) -> tuple[bytes, dict[str, str]]:
    answer = Package(load_pool(), "inference").ModelInferResponse(model_name="mnist", model_version="2")
    answer.outputs.add(name="logits", datatype="FP32", shape=[1, 10])
    answer.raw_output_contents.append(logits.tobytes())
    return answer.SerializeToString(), WHO
