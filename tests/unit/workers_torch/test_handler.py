"""The handler inside an unpacked archive, under TorchServe's own context class; the network is a small stand-in."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray

import workers.torch
from contracts import blobs
from contracts.bfloat16 import narrow, widen

HANDLER = Path(workers.torch.__file__).with_name("handler.py")
SIGNATURE = {
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 2, 2]}],
    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
}
MODEL = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(2))

    def forward(self, images):
        return images.sum((1, 2))[:, None] * self.scale
"""
ONES = np.ones((3, 2, 2), np.float32)


def load_handler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context_of(folder: Path, requests: int = 1) -> Any:
    from ts.context import Context, RequestProcessor

    context = Context("tiny", str(folder), None, 1, None, "")
    context.request_processor = [RequestProcessor({}) for _ in range(requests)]
    return context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "signature.json").write_text(json.dumps(SIGNATURE))
    blob = safetensors.numpy.save({"scale": np.array([1, 10], np.float16)})
    (tmp_path / "weights.safetensors").write_bytes(blob)
    return tmp_path


@pytest.fixture
def handler(folder: Path) -> Any:
    made = load_handler().Handler()
    made.initialize(context_of(folder))
    return made


def row(**tensors: NDArray[np.generic]) -> dict[str, object]:
    return {"body": bytearray(safetensors.numpy.save(tensors))}


def test_torchserve_finds_the_handler() -> None:
    """Its loader takes a module with one class, and no other."""
    from ts.utils.util import list_classes_from_module

    assert [found.__name__ for found in list_classes_from_module(load_handler())] == ["Handler"]


def test_answers_a_blob_of_named_outputs(handler: Any, folder: Path) -> None:
    context = context_of(folder)
    (answer,) = handler.handle([row(images=ONES)], context)
    assert isinstance(answer, bytes)
    np.testing.assert_array_equal(safetensors.numpy.load(answer)["logits"], [[4, 40]] * 3)
    assert context.get_response_content_type(0) == "application/octet-stream"
    assert context.get_response_status(0)[0] == 200


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(image=ONES), "expected tensors ['images'], got ['image']"),
        (row(images=ONES, more=ONES), "expected tensors ['images'], got ['images', 'more']"),
        (row(images=ONES.astype(np.float64)), "images: expected FP32, got FP64"),
        (row(images=ONES[:, :1]), "images: expected shape [-1, 2, 2], got [3, 1, 2]"),
        (row(images=ONES[0]), "images: expected shape [-1, 2, 2], got [2, 2]"),
        ({"body": b"junk"}, "the body is not a safetensors blob"),
        ({"body": b""}, "the body is not a safetensors blob"),
        ({"body": {"images": [1]}}, "the body must be one safetensors blob sent as application/octet-stream"),
        ({"data": b""}, "the body must be one safetensors blob"),
    ],
)
def test_refuses_a_bad_request_without_disturbing_its_batch_mates(
    handler: Any, folder: Path, bad: dict[str, object], message: str
) -> None:
    context = context_of(folder, requests=3)
    first, refused, last = handler.handle([row(images=ONES), bad, row(images=2 * ONES[:1])], context)
    assert message in json.loads(refused)["message"]
    assert [context.get_response_status(index)[0] for index in range(3)] == [200, 400, 200]
    assert context.get_response_content_type(1) == "application/json"
    assert context.get_response_status(1)[1].isascii()
    np.testing.assert_array_equal(safetensors.numpy.load(first)["logits"], [[4, 40]] * 3)
    np.testing.assert_array_equal(safetensors.numpy.load(last)["logits"], [[8, 80]])


def test_a_request_without_rows_gets_an_answer_without_rows(handler: Any, folder: Path) -> None:
    (answer,) = handler.handle([row(images=ONES[:0])], context_of(folder))
    assert safetensors.numpy.load(answer)["logits"].shape == (0, 2)


def test_the_same_header_again_is_read_and_answered_the_same(handler: Any, folder: Path) -> None:
    for rows in (3, 3, 0, 0, 3):
        request = row(images=rows * ONES[:rows])
        sent = bytes(request["body"])  # type: ignore[call-overload]
        (answer,) = handler.handle([request], context_of(folder))
        expected = np.full((rows, 2), [4 * rows, 40 * rows], np.float32)
        np.testing.assert_array_equal(safetensors.numpy.load(answer)["logits"], expected)
        assert request["body"] == sent


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[:-1], lambda b: b + b"x", lambda b: b.replace(b"F32", b"I32"), lambda b: b.replace(b"[3,2", b"[2,3")],
    ids=["short", "long", "dtype", "shape"],
)
def test_what_is_known_does_not_help_what_does_not_fit(
    handler: Any, folder: Path, spoil: Callable[[bytearray], bytearray]
) -> None:
    good = row(images=ONES)
    bad = {"body": spoil(bytearray(safetensors.numpy.save({"images": ONES})))}
    for _ in range(2):
        context = context_of(folder, requests=2)
        handler.handle([good, bad], context)
        assert [context.get_response_status(index)[0] for index in range(2)] == [200, 400]


def test_what_a_network_makes_for_itself_is_made(folder: Path) -> None:
    made = "self.register_buffer('factor', torch.tensor(0.5), persistent=False)"
    model = MODEL.replace("torch.zeros(2))", f"torch.zeros(2))\n        {made}")
    (folder / "model.py").write_text(model.replace("* self.scale", "* self.factor * self.scale"))
    handler = load_handler().Handler()
    handler.initialize(context_of(folder))
    (answer,) = handler.handle([row(images=ONES[:1])], context_of(folder))
    np.testing.assert_array_equal(safetensors.numpy.load(answer)["logits"], [[2, 20]])


def test_tensors_that_lie_askew_are_read(folder: Path) -> None:
    """safetensors' own writer aligns them, others need not."""
    inputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in (("images", "FP32"), ("a", "UINT8"))]
    (folder / "signature.json").write_text(json.dumps(SIGNATURE | {"inputs": inputs}))
    (folder / "model.py").write_text(
        MODEL.replace("images):", "images, a):").replace("images.sum((1, 2))", "(images + a)")
    )
    handler = load_handler().Handler()
    handler.initialize(context_of(folder))
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"images":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}'
    )
    blob = len(header).to_bytes(8, "little") + header + b"\x02" + np.float32(3).tobytes()
    for _ in range(2):
        (answer,) = handler.handle([{"body": bytearray(blob)}], context_of(folder))
        np.testing.assert_array_equal(safetensors.numpy.load(answer)["logits"], [[5, 50]])


def test_inputs_must_agree_in_their_number_of_rows() -> None:
    module = load_handler()
    specs = [{"name": name, "datatype": "FP32", "shape": [-1, 2, 2]} for name in ("a", "b")]
    blob = row(a=ONES, b=ONES[:1])
    tensors, message = module.decode_request(blob)
    assert message == ""
    assert "differ in their number of rows" in module.fault(tensors, specs)


def test_requests_whose_rows_may_differ_are_answered_one_by_one(folder: Path) -> None:
    free = SIGNATURE | {"inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, -1, 2]}]}
    (folder / "signature.json").write_text(json.dumps(free))
    handler = load_handler().Handler()
    handler.initialize(context_of(folder))
    answers = handler.handle([row(images=ONES), row(images=ONES[:, :1])], context_of(folder, requests=2))
    firsts = [safetensors.numpy.load(answer)["logits"][0, 0] for answer in answers]
    assert firsts == [4, 2]


class Pair(torch.nn.Module):  # type: ignore[misc]
    """`a` FP32 [N,2] and `b` FP32 [N,2] to their `sum` [N,2], transposed twice, and their `rows` []."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (a.t() + 2 * b.t()).t(), torch.tensor(a.size(0))


class NamedPair(torch.nn.Module):  # type: ignore[misc]
    """The same by name, in another order and with one output more than the signature has."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"rows": torch.tensor(a.size(0)), "more": a, "sum": a + 2 * b}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("network", [Pair(), NamedPair()])
def test_torchscript_takes_and_gives_several_tensors(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.jit.script(network).save(tmp_path / "model.pt")
    signature = {
        "inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in ("a", "b")],
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "rows", "datatype": "INT64", "shape": []},
        ],
    }
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    handler = load_handler().Handler()
    handler.initialize(context_of(tmp_path))
    a, b = np.arange(6, dtype=np.float32).reshape(3, 2), np.full((3, 2), 10, np.float32)
    # Several requests, which an output without rows keeps from being joined.
    requests = [row(b=b, a=a), row(a=a[:1], b=b[:1]), row(a=a, b=b)]
    answers = handler.handle(requests, context_of(tmp_path, requests=3))
    for answer, rows in zip(answers, (3, 1, 3), strict=True):
        tensors = safetensors.numpy.load(answer)
        assert set(tensors) == {"sum", "rows"}
        np.testing.assert_array_equal(tensors["sum"], (a + 2 * b)[:rows])
        assert tensors["rows"] == rows


def test_a_network_of_our_own_goes_before_torchscript(folder: Path, handler: Any) -> None:
    (folder / "model.pt").write_bytes(b"no TorchScript")
    handler.initialize(context_of(folder))
    (answer,) = handler.handle([row(images=ONES)], context_of(folder))
    np.testing.assert_array_equal(safetensors.numpy.load(answer)["logits"], [[4, 40]] * 3)


def test_bf16_comes_and_goes(folder: Path) -> None:
    signature = json.loads(json.dumps(SIGNATURE).replace("FP32", "BF16"))
    (folder / "signature.json").write_text(json.dumps(signature))
    (folder / "model.py").write_text(MODEL.replace("* self.scale", "* self.scale.bfloat16()"))
    handler, context = load_handler().Handler(), context_of(folder)
    handler.initialize(context)
    request = {"body": bytearray(blobs.encode({"images": narrow(ONES)}))}
    first, answer = (handler.handle([request], context)[0] for _ in range(2))
    assert first == answer
    assert context.get_response_status(0)[0] == 200, answer
    assert widen(blobs.decode(answer)["logits"]).tolist() == [[4, 40]] * 3
