"""The embedded TF server with batching on: what is gathered, padded, split and refused."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
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
    until,
)

pytestmark = pytest.mark.engines

METRICS = "/monitoring/prometheus/metrics"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calc_model(tmp_path_factory)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_models(tmp_path_factory)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def batching_flags(folder: Path, parameters: str) -> tuple[str, ...]:
    """Batching with these parameters, and metrics that tell of it."""
    (folder / "batching").write_text(parameters)
    (folder / "monitoring").write_text("prometheus_config { enable: true }")
    return (
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching'}",
        f"--monitoring_config_file={folder / 'monitoring'}",
    )


def runs(engine: Engine) -> str:
    """How often a model has been run."""
    lines = engine.get(METRICS)[2].decode().splitlines()
    name = ":tensorflow:serving:batching_session:wrapped_run_count{} "
    return next((line.removeprefix(name) for line in lines if line.startswith(name)), "0")


BATCHING = """
max_batch_size {{ value: 4 }}
batch_timeout_micros {{ value: {timeout_us} }}
max_enqueued_batches {{ value: 1 }}
num_batch_threads {{ value: 1 }}
allowed_batch_sizes: [2, 4]
"""


def test_requests_are_gathered_into_batches(tmp_path: Path, samples: Path) -> None:
    flags = batching_flags(tmp_path, BATCHING.format(timeout_us=60_000_000))
    config = model_list(*(pinned(samples / name, 1, name=name) for name in ("sums", "counter")))
    with running_engine(tmp_path / "run", config, *flags) as engine, ThreadPoolExecutor(4) as clients:
        # No batch of fewer than four rows goes before a minute has passed.
        calls = [clients.submit(engine.predict, "sums", a=ones(1, 2) * i, b=ones(1, 2)) for i in range(4)]
        sums = [list(call.result(WAIT_S / 2).outputs["sum"].float_val) for call in calls]
        assert sums == [[i + 1.0] * 2 for i in range(4)]
        assert runs(engine) == "1"
        message = failure(INVALID, lambda: engine.predict("sums", a=ones(5, 2), b=ones(5, 2)))
        assert message == "Task size 5 is larger than maximum input batch size 4"
        message = failure(INVALID, lambda: engine.predict("counter", step=np.int64(1)))
        assert message.startswith("Batching Run() input tensors must have at least one dimension")
        # A second batch beside the one that waits would be one too many.
        waiting = clients.submit(engine.predict, "sums", a=ones(3, 2), b=ones(3, 2))
        until(lambda: "input_batch_size_count{} 12" in engine.get(METRICS)[2].decode())
        full = failure(grpc.StatusCode.UNAVAILABLE, lambda: engine.predict("sums", a=ones(2, 2), b=ones(2, 2)))
        assert full.startswith("The batch scheduling queue to which this task was submitted is full")
        engine.predict("sums", a=ones(1, 2), b=ones(1, 2))
        assert len(waiting.result(WAIT_S).outputs["sum"].float_val) == 6


def test_batches_are_padded_to_an_allowed_size(tmp_path: Path, samples: Path) -> None:
    flags = batching_flags(tmp_path, BATCHING.format(timeout_us=0))
    with running_engine(tmp_path / "run", model_list(pinned(samples / "sums", 1, name="sums")), *flags) as engine:
        assert len(engine.predict("sums", a=ones(3, 2), b=ones(3, 2)).outputs["sum"].float_val) == 6
        message = failure(grpc.StatusCode.FAILED_PRECONDITION, lambda: engine.predict("sums", "count", a=ones(3, 2)))
        assert message == "Batched output tensor has 0 dimensions"


SPLITTING = """
max_batch_size { value: 10 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 4 }
num_batch_threads { value: 2 }
"""


def test_a_large_request_is_split_and_put_together_again(tmp_path: Path, samples: Path) -> None:
    flags = batching_flags(tmp_path, SPLITTING)
    with running_engine(tmp_path / "run", model_list(pinned(samples / "sums", 1, name="sums")), *flags) as engine:
        a = np.arange(20, dtype=np.float32).reshape(10, 2)
        answer = engine.predict("sums", a=a, b=ones(10, 2))
        assert list(answer.outputs["sum"].float_val) == (a + 1).ravel().tolist()
        assert [dim.size for dim in answer.outputs["sum"].tensor_shape.dim] == [10, 2]
        assert runs(engine) == "3"
        message = failure(INVALID, lambda: engine.predict("sums", a=ones(11, 2), b=ones(11, 2)))
        assert message == "Task size 11 is larger than maximum input batch size 10"


# Two requests of one row fill a batch; without the other one each would wait for a minute.
PAIRS = "max_batch_size { value: 2 } batch_timeout_micros { value: 60000000 } num_batch_threads { value: 1 }"


def echo_together(engine: Engine, clients: ThreadPoolExecutor, *widths: int) -> list[Any]:
    """The calls of one echo for each width, all in one batch; their values are 1, 2 and so on."""
    arrays = [np.full((1, width), index + 1, np.float32) for index, width in enumerate(widths)]
    return [clients.submit(engine.predict, "calc", "echo_float32", t=array) for array in arrays]


def test_inputs_of_other_widths_are_padded_when_asked_for(tmp_path: Path, exported: Path) -> None:
    flags = batching_flags(tmp_path, f"{PAIRS} pad_variable_length_inputs: true")
    config = model_list(pinned(exported, 1))
    with (
        running_engine(tmp_path / "run", config, *flags, "--shape_check=off") as engine,
        ThreadPoolExecutor(2) as clients,
    ):
        narrow, wide = (call.result(WAIT_S / 2).outputs["t"] for call in echo_together(engine, clients, 2, 3))
        # As in the original: what is missing is filled with a tensor's own first element, and comes back.
        assert (list(narrow.float_val), list(wide.float_val)) == ([1, 1, 1], [2, 2, 2])
        assert runs(engine) == "1"


def test_inputs_of_other_widths_are_refused_otherwise(tmp_path: Path, exported: Path) -> None:
    flags = batching_flags(tmp_path, PAIRS)
    with (
        running_engine(tmp_path / "run", model_list(pinned(exported, 1)), *flags) as engine,
        ThreadPoolExecutor(2) as clients,
    ):
        for call in echo_together(engine, clients, 2, 3):
            message = failure(grpc.StatusCode.FAILED_PRECONDITION, partial(call.result, WAIT_S / 2))
            assert "have different shapes and padding is turned off" in message


def test_each_version_may_say_how_to_batch_it(tmp_path: Path, samples: Path) -> None:
    flags = batching_flags(tmp_path, "max_batch_size { value: 1 }")
    for name, parameters in (("small", "max_batch_size { value: 2 }"), ("none", None)):
        version = tmp_path / name / "1"
        shutil.copytree(samples / "sums" / "1", version)
        if parameters is not None:
            (version / "batching_params.pbtxt").write_text(parameters)
    config = model_list(*(pinned(tmp_path / name, 1, name=name) for name in ("small", "none")))
    with running_engine(tmp_path / "run", config, *flags, "--enable_per_model_batching_parameters") as engine:
        # The common file's limit of one row holds for neither.
        assert len(engine.predict("small", a=ones(2, 2), b=ones(2, 2)).outputs["sum"].float_val) == 4
        message = failure(INVALID, lambda: engine.predict("small", a=ones(3, 2), b=ones(3, 2)))
        assert message == "Task size 3 is larger than maximum input batch size 2"
        assert runs(engine) == "1"
        assert len(engine.predict("none", a=ones(3, 2), b=ones(3, 2)).outputs["sum"].float_val) == 6
        assert runs(engine) == "1"
