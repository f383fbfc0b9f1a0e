"""Who can be asked: an engine behind the gateway, and, where addresses are given, each engine itself over its own HTTP.

The only place that knows how each of them is asked.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contracts import blobs
from contracts.oip_bodies import HEADER_LENGTH, Array
from loadtest.bench.http_answers import Answer, encode_post
from loadtest.compare.client import Subject, drive
from loadtest.compare.deployment import CannotRun, Deployment, fetch, split_address
from loadtest.compare.questions import Questions
from loadtest.compare.resources import Gpus, Reading
from loadtest.compare.trials import Load, Trial

TORCHSERVE, TFSERVING = "torchserve", "tfserving"


def gateway_subject(deployment: Deployment, engine: str) -> Subject:
    """One engine, named by X-Engine, in OIP's binary form."""
    known, version = deployment.questions.known, str(deployment.version)
    path, host = f"/v2/models/{deployment.model}/infer", f"{deployment.host}:{deployment.port}"
    requests = tuple(encode_post(path, host, {**case.headers, "X-Engine": engine}, case.body) for case in known.cases)

    def look(number: int, answer: Answer) -> str:
        del number
        said = (answer.header("X-Engine"), answer.header("X-Model-Version"))
        return (
            "" if said == (engine, version) else f"asked {engine} for version {version}, {said[0]} answered {said[1]}"
        )

    def judge(number: int, answer: Answer) -> str:
        case = number % len(known.cases)
        return known.find_fault(case, version, answer.body, answer.header(HEADER_LENGTH))

    return Subject(engine, deployment.host, deployment.port, requests, look, judge)


def direct_subject(deployment: Deployment, engine: str, url: str, key_file: Path) -> Subject:
    """The engine itself; its answers to all questions are right, or CannotRun is raised."""
    host, port, prefix = split_address(url)
    asked = deployment.questions.rows()
    if engine == TORCHSERVE:
        path = f"{prefix}/predictions/{deployment.model}/{deployment.version}"
        headers = {"Content-Type": "application/octet-stream", **_authorization(key_file)}
        bodies = [blobs.encode(row) for row in asked]
    else:
        path = f"{prefix}/v1/models/{deployment.model}/versions/{deployment.version}:predict"
        headers = {"Content-Type": "application/json"}
        bodies = [json.dumps({"inputs": {k: v.tolist() for k, v in row.items()}}).encode() for row in asked]
    for number, body in enumerate(bodies):
        if fault := _judge_direct(engine, deployment.questions, number, fetch(url.rstrip("/") + path, body, headers)):
            raise CannotRun(f"{engine} itself does not answer as it does behind the gateway: {fault}")
    requests = tuple(encode_post(path, f"{host}:{port}", headers, body) for body in bodies)
    return Subject(
        f"{engine} direct",
        host,
        port,
        requests,
        lambda number, answer: "",  # noqa: ARG005 - its answers do not say who they are from
        lambda number, answer: _judge_direct(engine, deployment.questions, number, answer.body),
    )


def _authorization(key_file: Path) -> dict[str, str]:
    """TorchServe's own token, where there is one."""
    try:
        return {"Authorization": f"Bearer {json.loads(key_file.read_bytes())['inference']['key']}"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _judge_direct(engine: str, questions: Questions, number: int, body: bytes) -> str:
    try:
        return questions.find_difference(number, _decode_direct(engine, questions, body))
    except (blobs.BadBlob, ValueError, KeyError, TypeError) as error:
        return f"no answer of this engine: {type(error).__name__}: {error}"


def _decode_direct(engine: str, questions: Questions, body: bytes) -> Mapping[str, Array]:
    if engine == TORCHSERVE:
        return blobs.decode(body)
    outputs = json.loads(body)["outputs"]
    if isinstance(outputs, dict):
        return {name: np.asarray(value) for name, value in outputs.items()}
    (only,) = questions.outputs  # a single output is not named
    return {only: np.asarray(outputs)}


class HttpMeter:
    """Measures subjects by name. `processes`: whose usage counts for each, by name of the subject."""

    def __init__(self, subjects: Mapping[str, Subject], processes: Mapping[str, Mapping[str, int]], gpus: Gpus) -> None:
        self._subjects = subjects
        self._processes = processes
        self._gpus = gpus

    async def measure(self, subject: str, load: Load) -> Trial:
        """Raises Unreachable."""
        reading = Reading(self._gpus, self._processes.get(subject, {}))
        trial = await drive(self._subjects[subject], load)
        return trial.used(reading.finish(len(trial.answered)))
