"""The embedded TF server about tf.Examples: Classify, Regress and MultiInference, both dialects."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.embedded_server import (
    WAIT_S,
    Engine,
    calc_model,
    failure,
    model_list,
    pinned,
    running_engine,
    sample_models,
)

pytestmark = pytest.mark.engines

MODEL = "half_plus_two"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    # The first as TF1 exported models, the second as TF2 does.
    models = pinned(sample_models(tmp_path_factory) / MODEL, 1, name=MODEL), pinned(calc_model(tmp_path_factory), 1)
    with running_engine(tmp_path_factory.mktemp("run"), model_list(*models)) as engine:
        yield engine


def classification(signature: str, *xs: float) -> Any:
    from tensorflow_serving.apis import classification_pb2

    return filled(classification_pb2.ClassificationRequest(), signature, *xs)


def regression(signature: str, *xs: float) -> Any:
    from tensorflow_serving.apis import regression_pb2

    return filled(regression_pb2.RegressionRequest(), signature, *xs)


def filled(request: Any, signature: str, *xs: float) -> Any:
    request.model_spec.name = MODEL
    request.model_spec.signature_name = signature
    for x in xs:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(x)
    return request


def inference(*tasks: tuple[str, str], x: float = 2) -> Any:
    from tensorflow_serving.apis import inference_pb2

    request: Any = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = MODEL
        task.model_spec.signature_name = signature
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(x)
    return request


def test_classify_scores_with_and_without_labels(engine: Engine) -> None:
    answer = engine.predictions.Classify(classification("classify_x_to_y", 2, 4), timeout=WAIT_S)
    assert [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications] == [
        [("", 3)],
        [("", 4)],
    ]
    spec = answer.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == (MODEL, "classify_x_to_y", 1)
    answer = engine.predictions.Classify(classification("classify_labels", 2), timeout=WAIT_S)
    assert [(c.label, c.score) for c in answer.result.classifications[0].classes] == [("half", 1), ("plus two", 3)]


def test_regress_and_a_context_that_all_examples_share(engine: Engine) -> None:
    answer = engine.predictions.Regress(regression("regress_x_to_y2", 2, 4), timeout=WAIT_S)
    assert [r.value for r in answer.result.regressions] == [4, 5]
    request = regression("regress_x2_to_y3")
    shared = request.input.example_list_with_context
    shared.context.features.feature["x"].float_list.value.append(0)
    for x2 in (2, 4):
        shared.examples.add().features.feature["x2"].float_list.value.append(x2)
    answer = engine.predictions.Regress(request, timeout=WAIT_S)
    assert [r.value for r in answer.result.regressions] == [4, 5]


def test_multi_inference_answers_every_task(engine: Engine) -> None:
    tasks = (("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    answer = engine.predictions.MultiInference(inference(*tasks), timeout=WAIT_S)
    assert answer.results[0].regression_result.regressions[0].value == 3
    assert answer.results[1].classification_result.classifications[0].classes[0].score == 3
    assert [(r.model_spec.signature_name, r.model_spec.version.value) for r in answer.results] == [
        ("regress_x_to_y", 1),
        ("classify_x_to_y", 1),
    ]


def test_multi_inference_feeds_every_task_where_each_signature_has_an_input_of_its_own(engine: Engine) -> None:
    request = inference(("regress", REGRESS), ("classify", CLASSIFY))
    for task in request.tasks:
        task.model_spec.name = "calc"
    answer = engine.predictions.MultiInference(request, timeout=WAIT_S)
    assert answer.results[0].regression_result.regressions[0].value == 4
    assert answer.results[1].classification_result.classifications[0].classes[0].score == 3


def test_what_cannot_be_classified_or_regressed(engine: Engine) -> None:
    classify, regress = engine.predictions.Classify, engine.predictions.Regress
    assert failure(INVALID, lambda: classify(classification("classify_x_to_y"))) == "Input is empty."
    assert failure(INVALID, lambda: classify(classification("x"))) == "No signature was found with the name: x"
    missing = grpc.StatusCode.FAILED_PRECONDITION
    assert "No classification inputs found" in failure(missing, lambda: classify(classification("", 1)))
    assert "No regression outputs found" in failure(missing, lambda: regress(regression("classify_x_to_y", 1)))
    wrong = classification("classify_x_to_y")
    wrong.input.example_list.examples.add().features.feature["x"].int64_list.value.append(1)
    assert "Data type: int64 but expected type: float" in failure(INVALID, lambda: classify(wrong))


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], INVALID, "ModelSpec has no name specified."),
        ([("regress_x_to_y", REGRESS)] * 2, INVALID, "Duplicate evaluation of signature: regress_x_to_y"),
        ([("x", REGRESS)], INVALID, "Requested signature not found in model graph: x"),
        ([("regress_x_to_y", "guess")], grpc.StatusCode.UNIMPLEMENTED, "Unsupported signature method_name: guess"),
    ],
)
def test_multi_inference_refusals(
    engine: Engine, tasks: list[tuple[str, str]], code: grpc.StatusCode, message: str
) -> None:
    assert failure(code, lambda: engine.predictions.MultiInference(inference(*tasks), timeout=WAIT_S)) == message


def test_multi_inference_is_about_one_model(engine: Engine) -> None:
    request = inference(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    request.tasks[1].model_spec.name = "other"
    message = failure(INVALID, lambda: engine.predictions.MultiInference(request, timeout=WAIT_S))
    assert message == "All ModelSpecs in a MultiInferenceRequest must access the same model name."


@pytest.mark.parametrize(
    ("verb", "body", "status", "answer"),
    [
        (
            "classify",
            {"signature_name": "classify_labels", "examples": [{"x": 2.0}]},
            200,
            {"results": [[["half", 1.0], ["plus two", 3.0]]]},
        ),
        ("classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}, 200, {"results": [[["", 3.0]]]}),
        (
            "regress",
            {"signature_name": "regress_x_to_y", "examples": [{"x": [2.0]}, {"x": 3.0}]},
            200,
            {"results": [3.0, 3.5]},
        ),
        (
            "regress",
            {"signature_name": "regress_x2_to_y3", "context": {"x": 1.0}, "examples": [{"x2": 2.0}]},
            200,
            {"results": [4.0]},
        ),
        ("regress", {"signature_name": "x", "examples": [{}]}, 400, "No signature was found with the name: x"),
        ("regress", {}, 400, "When method is classify, key 'examples' is expected and was not found"),
        ("classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2}]}, 400, "Data type: int64"),
    ],
)
def test_rest(engine: Engine, verb: str, body: Any, status: int, answer: Any) -> None:
    code, told = engine.post(f"{MODEL}:{verb}", body)
    assert code == status, told
    assert told == answer or answer in told["error"]
