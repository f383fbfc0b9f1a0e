"""One contract for all dialects: the same tensors in, the same tensors out; the same fault, the equivalent code."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.unit.gateway.dialects import DIALECTS, UNTYPED, Ask
from tests.unit.gateway.served import Served, serving

ROW = np.array([[1, 2]], np.float32)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("dialects")) as served:
        yield served


@every_dialect
@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize("rows", [1, 3, 150])
def test_the_same_tensors(shared: Served, dialect: str, version: int | None, rows: int) -> None:
    """150 rows are more than an engine is sent at once."""
    tensor = (np.arange(rows * 2, dtype=np.float32).reshape(rows, 2) + 20).clip(max=99)
    said = DIALECTS[dialect](shared, Ask(tensor, version=version, engine="tfserving"))
    assert (said.kind, said.engine) == ("ok", "tfserving")
    assert said.tensor is not None
    np.testing.assert_array_equal(said.tensor, tensor * 2)


@every_dialect
@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (Ask(ROW, model="nobody"), "missing"),
        (Ask(ROW, version=9), "missing"),
        (Ask(ROW, name="b"), "invalid"),
        (Ask(np.array([[1, 2, 3]], np.float32)), "invalid"),
        (Ask(np.array([[[1, 2]]], np.float32)), "invalid"),
        (Ask(np.array([1, 2], np.float32)), "invalid"),
        (Ask(ROW, engine="onnx"), "invalid"),
        (Ask(np.array([[13, 2]], np.float32)), "invalid"),
    ],
    ids=["model", "version", "name", "width", "too deep", "too flat", "engine", "the engine refuses"],
)
def test_the_same_faults(shared: Served, dialect: str, ask: Ask, kind: str) -> None:
    said = DIALECTS[dialect](shared, ask)
    assert (said.kind, said.tensor) == (kind, None)
    assert said.message


@pytest.mark.parametrize("dialect", sorted(DIALECTS.keys() - UNTYPED))
def test_another_type(shared: Served, dialect: str) -> None:
    assert DIALECTS[dialect](shared, Ask(ROW.astype(np.float64))).kind == "invalid"


@pytest.mark.parametrize("dialect", sorted(UNTYPED))
def test_what_is_no_number(shared: Served, dialect: str) -> None:
    assert DIALECTS[dialect](shared, Ask(np.array([["a", "b"]]))).kind == "invalid"


@every_dialect
def test_no_rows(shared: Served, dialect: str) -> None:
    """The Open Inference Protocol has no answer of nothing; TensorFlow's and Torch's programs compute it."""
    said = DIALECTS[dialect](shared, Ask(ROW[:0]))
    answers = {"TF Serving gRPC", "TorchServe blob"}  # in JSON, no rows have no shape
    assert said.kind == ("ok" if dialect in answers else "invalid")


@every_dialect
def test_no_engine(served: Served, dialect: str) -> None:
    for engine in served.engines.values():
        engine.is_reachable = False
    assert DIALECTS[dialect](served, Ask(ROW)).kind == "unavailable"
