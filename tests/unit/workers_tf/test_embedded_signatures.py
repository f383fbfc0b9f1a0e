"""A request against a signature: which inputs and outputs, and which shapes."""

from types import SimpleNamespace
from typing import Any

import pytest

from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import Fault
from workers.tf.embedded.signatures import check_shape, choose_outputs, find_signature, match_inputs


def info(*sizes: int, unknown_rank: bool = False) -> Any:
    dims = [SimpleNamespace(size=size) for size in sizes]
    return SimpleNamespace(name="feed:0", tensor_shape=SimpleNamespace(dim=dims, unknown_rank=unknown_rank))


def signature(inputs: str, outputs: str = "y", **defaults: str) -> Any:
    return SimpleNamespace(
        inputs={alias: info() for alias in inputs}, outputs={alias: info() for alias in outputs}, defaults=defaults
    )


def test_inputs_match_and_defaults_step_in() -> None:
    assert match_inputs(signature("ab"), {"b": 2, "a": 1}) == {"a": 1, "b": 2}
    assert match_inputs(signature("ab", b="default"), {"a": 1}) == {"a": 1, "b": "default"}


@pytest.mark.parametrize(
    ("sig", "given", "message"),
    [
        (
            signature("a"),
            "ab",
            "input size does not match signature: 2!=1 len({a,b}) != len({a}). "
            "Sent extra: {b}. Missing but required: {}.",
        ),
        (
            signature("ab"),
            "c",
            "input size does not match signature: 1!=2 len({c}) != len({a,b}). "
            "Sent extra: {c}. Missing but required: {a,b}.",
        ),
        (
            signature("a"),
            "b",
            "Signature input alias: a(feed name: feed:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {b}, or default input alias set: ",
        ),
        (
            signature("ab", b="x"),
            "ac",
            "Inputs contains invalid name. Used request inputs: a, request input: a,c",
        ),
    ],
)
def test_inputs_that_do_not_match(sig: Any, given: str, message: str) -> None:
    with pytest.raises(Fault) as caught:
        match_inputs(sig, {alias: object() for alias in given})
    assert caught.value.message == message


def test_outputs() -> None:
    sig = signature("a", outputs="xy")
    assert choose_outputs(sig, []) == ["x", "y"]
    assert choose_outputs(sig, ["y"]) == ["y"]
    with pytest.raises(Fault, match=r"output tensor alias not found in signature: z Outputs expected .* {x,y}\."):
        choose_outputs(sig, ["z"])
    with pytest.raises(Fault, match="duplicate output tensor alias: x"):
        choose_outputs(sig, ["x", "y", "x"])


def test_an_unknown_signature() -> None:
    with pytest.raises(Fault, match=r'FAILED_PRECONDITION: Serving signature key "s" not found\.'):
        find_signature({}, "s")


@pytest.mark.parametrize("shape", [(0, 28), (7, 28)])
def test_shapes_that_fit(shape: tuple[int, ...]) -> None:
    check_shape("x", info(-1, 28), shape)
    check_shape("x", info(unknown_rank=True), shape)


@pytest.mark.parametrize("shape", [(), (28,), (1, 27), (1, 28, 1)])
def test_shapes_that_do_not(shape: tuple[int, ...]) -> None:
    received = ",".join(map(str, shape))
    with pytest.raises(Fault) as caught:
        check_shape("x", info(-1, 28), shape)
    assert caught.value.message == f'Input "x" expects shape [-1,28], received [{received}]'


def test_deadlines() -> None:
    assert Deadline.after(None).remaining_ms() is None
    assert Deadline.after(1e12).remaining_ms() is None
    assert 29_000 < (Deadline.after(30).remaining_ms() or 0) <= 30_000
    with pytest.raises(Fault, match="DEADLINE_EXCEEDED: Timed out waiting for notification"):
        Deadline.after(0).remaining_ms()
