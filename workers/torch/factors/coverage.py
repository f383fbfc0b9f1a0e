"""Which operators and dtypes TorchScript serves, of a fixed list: `python -m workers.torch.factors.coverage`."""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from contracts.findings import Finding
from workers.factors.dtypes import ADDED, ASKED_WITH, BUILT_WITH, DTYPES, MOVED, check_carried
from workers.factors.operators import Case, cases, check, measure_cover
from workers.factors.task import Task, run_task
from workers.torch.factors.operators import OPERATORS

SERVED = "TorchScript, as TorchServe takes it"
TORCH_DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
    "BF16": torch.bfloat16,
    "COMPLEX64": torch.complex64,
    "FP8 (e4m3)": torch.float8_e4m3fn,
}


def findings(task: Task) -> Iterator[Finding]:
    """Operators, then dtypes."""
    warnings.simplefilter("ignore")  # tracing warns of what the check finds out
    path = str(task.scratch / "operator.pt")
    asked = {
        built.name: functools.partial(_ask, built, other, path) for built, other in zip(cases(), cases(1), strict=True)
    }
    yield from measure_cover("operators", SERVED, asked)
    for what, operator in ((MOVED, _joined), (ADDED, _doubled)):
        yield from measure_cover(
            what, SERVED, {name: functools.partial(_carry, what, name, operator, path) for name in DTYPES}
        )


def _ask(built: Case, other: Case, path: str) -> None:
    operator = OPERATORS.get(built.name)
    if operator is None:
        raise LookupError("PyTorch has no such operator")
    inputs = tuple(torch.from_numpy(array) for array in built.inputs)
    asked = tuple(torch.from_numpy(array) for array in other.inputs)
    check(_served(operator, inputs, path)(*asked).numpy(), other.expected)


def _served(operator: Callable[..., Any], inputs: tuple[torch.Tensor, ...], path: str) -> Callable[..., Any]:
    scripted = (
        operator
        if isinstance(operator, torch.jit.ScriptFunction)
        else torch.jit.trace(lambda *given: operator(*given), inputs)
    )
    torch.jit.save(scripted, path)
    loaded: Callable[..., Any] = torch.jit.load(path)
    return loaded


def _carry(what: str, name: str, operator: Callable[..., Any], path: str) -> None:
    if name not in TORCH_DTYPES:
        raise LookupError("PyTorch has no such dtype")
    built, asked = (torch.tensor(values).to(TORCH_DTYPES[name]) for values in (BUILT_WITH, ASKED_WITH))
    answer = _served(operator, (built,), path)(asked)
    check_carried(what, name, answer.to(torch.float64).tolist(), answer.dtype, asked.dtype)


def _joined(given: torch.Tensor) -> torch.Tensor:
    return torch.cat((given, given))


def _doubled(given: torch.Tensor) -> torch.Tensor:
    return given + given


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.coverage", findings))
